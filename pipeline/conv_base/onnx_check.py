"""Check an ONNX file from outside before onnxruntime computes with it; `check_in_child` runs the check."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Operators that onnxruntime has built in by the standard; all others are custom.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def check_onnx_model(path: Path) -> None:
    """Check that a model needs no other file and no custom operator, and that onnxruntime can build it.

    Raises
    ------
    ValueError
        The file is not such a model; the text is the reason, without the path.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    local = {(function.domain, function.name) for function in model.functions}
    graphs = [model.graph, *model.functions]
    for node in (node for graph in graphs for node in _nodes(graph)):
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in local:
            raise ValueError(f"it has the custom operator {node.domain}.{node.op_type}")
    for tensor in (tensor for graph in graphs for tensor in _tensors(graph)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(f"the values of {tensor.name} are in another file; save the model as one file")
    make_session(model.SerializeToString(), threads=1)


def make_session(model: bytes, threads: int) -> Any:
    """Return an `onnxruntime.InferenceSession` that computes on the processor with so many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other threads decode meanwhile
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph or function, and those of the graphs inside them."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield all constants of a graph or function, and those of the graphs inside it."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
        for inner in subgraphs(node):
            yield from _tensors(inner)


def subgraphs(node: Any) -> list[Any]:
    """Return the graphs inside a node, as those of a loop or a condition."""
    return [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
