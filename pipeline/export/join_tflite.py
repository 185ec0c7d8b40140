"""Join two TensorFlow Lite models into one that runs them one after the other.

The converter cannot take a `.tflite` file, and a conv base that is quantised a second time computes other
features. Here the operators of one file are appended to those of another, unchanged.
"""

from typing import Any

from ai_edge_litert.schema_py_generated import BufferT, SignatureDefT, TensorMapT
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray, read_model_from_bytearray, type_to_name

from pipeline.errors import ExportError

Table = Any  # a ModelT or TensorT; the generated schema has no types
IDENTIFIER = b"TFL3"  # bytes 4 to 7 of a .tflite file
ALIGNMENT = 16  # bytes; the format demands it of weights, but the generated code does not align them
OLDEST_RUNTIME = b"min_runtime_version"  # metadata: the oldest runtime that has all operators, "2.3.0" and zero bytes


def join_tflite(first: bytes, second: bytes) -> bytes:
    """Return a TensorFlow Lite model that runs `first`, and then `second` on its output.

    Parameters
    ----------
    first, second : bytes
        Two `.tflite` files of one subgraph with one input and one output. What follows the model in a file, such
        as a zip archive, is left out.

    Returns
    -------
    bytes
        Operators, weights, quantisation and unknown dimensions are those of the two models. The only signature,
        `serving_default`, has the names of the first one's input and the second one's output. Of metadata with
        the same name the first one's are kept, but the newer one of the required runtimes.

    Raises
    ------
    ExportError
        A file is not such a model, or the second model does not take what the first gives.
    """
    joined, added = _read(first, "first"), _read(second, "second")
    graph, added_graph = joined.subgraphs[0], added.subgraphs[0]
    (given,), (taken,) = graph.outputs, added_graph.inputs
    _check_fit(graph.tensors[given], added_graph.tensors[taken])
    input_name, output_name = _name(joined, "inputs"), _name(added, "outputs")

    codes_before, buffers_before = len(joined.operatorCodes), len(joined.buffers) - 1  # both share the empty buffer 0
    joined.operatorCodes += added.operatorCodes
    joined.buffers += added.buffers[1:]
    names = {tensor.name for tensor in graph.tensors}
    new_index = {-1: -1, taken: given}  # -1 stands for an operator's input that is left out
    for old_index, tensor in enumerate(added_graph.tensors):
        if old_index != taken:
            new_index[old_index] = len(graph.tensors)
            tensor.buffer += buffers_before if tensor.buffer else 0
            while tensor.name in names:
                tensor.name += b"_"
            names.add(tensor.name)
            graph.tensors.append(tensor)
    for operator in added_graph.operators:
        operator.opcodeIndex += codes_before
        for field in ("inputs", "outputs", "intermediates"):
            setattr(operator, field, [new_index[index] for index in getattr(operator, field) or []])
    graph.operators += added_graph.operators
    graph.outputs = [new_index[index] for index in added_graph.outputs]

    metadata = {entry.name: entry for entry in joined.metadata or []}
    for entry in added.metadata or []:
        entry.buffer += buffers_before
        if entry.name not in metadata or _is_newer(joined, entry, metadata[entry.name]):
            metadata[entry.name] = entry
    joined.metadata = list(metadata.values())
    ends = [TensorMapT(input_name, graph.inputs[0])], [TensorMapT(output_name, graph.outputs[0])]
    joined.signatureDefs = [SignatureDefT(*ends, b"serving_default", 0)]
    joined.buffers = [_AlignedBuffer(buffer.data) for buffer in joined.buffers]
    return bytes(convert_object_to_bytearray(joined))


def resize_model(height: int, width: int) -> bytes:
    """Return a TensorFlow Lite model that resizes images bilinearly, without antialiasing.

    It maps `images` of shape (b, any height, any width, 3), float32 in 0..255, to (b, height, width, 3), float32.
    Images of this size keep their values. Those of others are within 0.01 of a grey level of what Keras' `Resizing`
    gives, since the runtime computes positions differently; a quantised model may round a few pixels otherwise.
    """
    import tensorflow as tf

    images = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
    resize = tf.function(lambda images: tf.image.resize(images, (height, width)), autograph=False)
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [resize.get_concrete_function(images)], tf.Module()
    ).convert()


class _AlignedBuffer(BufferT):
    def Pack(self, builder: Any) -> int:
        if self.data is not None:
            builder.Prep(ALIGNMENT, self.data.nbytes)
        return super().Pack(builder)


def _read(data: bytes, which: str) -> Table:
    if data[4:8] != IDENTIFIER:
        raise ExportError(f"the {which} of two models to join is not a TensorFlow Lite model; export it again")
    model = read_model_from_bytearray(data)
    graph = model.subgraphs[0]
    counts = len(model.subgraphs), len(graph.inputs), len(graph.outputs)
    if counts != (1, 1, 1):
        raise ExportError(
            f"the {which} of two models to join has {counts[0]} subgraphs, {counts[1]} inputs and {counts[2]} outputs, "
            "not one of each; convert a function of one array that returns one array"
        )
    return model


def _check_fit(given: Table, taken: Table) -> None:
    """Check that the second model takes every array that the first gives; -1 stands for any size."""
    # A tensor without an unknown size has no shapeSignature.
    shapes = [
        tuple(tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature) for tensor in (given, taken)
    ]
    same_rank = len(shapes[0]) == len(shapes[1])
    if given.type != taken.type or not same_rank or any(b not in (-1, a) for a, b in zip(*shapes, strict=True)):
        gives, takes = (
            f"{type_to_name(tensor.type)} {shape}" for tensor, shape in zip((given, taken), shapes, strict=True)
        )
        raise ExportError(f"the first of two models to join gives {gives}, the second takes {takes}; convert both anew")


def _name(model: Table, kind: str) -> bytes:
    """Return the name of the only input or output in the signature, or of its tensor if there is no signature."""
    if model.signatureDefs:
        return getattr(model.signatureDefs[0], kind)[0].name
    graph = model.subgraphs[0]
    return graph.tensors[getattr(graph, kind)[0]].name


def _is_newer(model: Table, entry: Table, other: Table) -> bool:
    if entry.name != OLDEST_RUNTIME:
        return False
    texts = [model.buffers[metadata.buffer].data.tobytes().rstrip(b"\0") for metadata in (entry, other)]
    new, old = ([int(number) for number in text.split(b".")] for text in texts)
    return new > old
