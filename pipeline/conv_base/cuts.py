"""Find the layers at which a conv base can be cut in two for fine-tuning."""

import re
from collections.abc import Iterator
from typing import Any

from pipeline.conv_base.keras_setup import Model, import_keras
from pipeline.errors import SpecError

TOP = re.compile(r"top([1-9]\d{0,2})")
# The beginnings of layer names in `keras.applications` by which the layers of a block are recognised: the
# five blocks of VGG and ResNet, a stage of EfficientNet and ConvNeXt, an inverted residual of MobileNetV2
# and V3, a dense block of DenseNet, a module of Inception. The classic networks have blocks too, and GoogLeNet
# modules. The stacks are those of ResNet in keras-hub.
BLOCK = re.compile(
    r"(?:block_?|(?:conv|stack)(?=\d+_block)|conv_dw_|expanded_conv_|mixed|convnext_\w+_stage_)\d+|inception_\d[a-e]"
)
MAX_NAMES = 12  # layer names in an error message


def find_cut(model: Model, cut: str, name: str) -> str:
    """Return the name of the layer that `cut` means: for `topN` the input of the N uppermost blocks.

    If the model has fewer blocks that are known by name, the SpecError lists the layers that can be given instead.
    """
    top = TOP.fullmatch(cut)
    if top is None or any(layer.name == cut for layer in model.layers):
        return cut
    n_blocks, inputs = int(top[1]), _block_inputs(model)
    if n_blocks > len(inputs):
        has = f"{len(inputs)} blocks that can be cut off, not {n_blocks}" if inputs else "no blocks known by name"
        raise SpecError(f"{name} has {has}; {describe_cuts(model)}")
    return inputs[-n_blocks]


def single_cuts(model: Model) -> list[str]:
    """Return the layers whose output is all that the layers above them need, from the bottom to the top.

    No connection skips such a layer (it dominates the output in the graph). The last layer returned
    gives the model's own output.
    """
    return [operation.name for operation, is_single in _walk(model) if is_single]


def describe_cuts(model: Model) -> str:
    """Return a list, for an error message, of the layers at which a model can be cut, the uppermost first."""
    cuts = single_cuts(model)[-2::-1]
    if not cuts:
        return "it has no layer whose output is all that the layers above need"
    more = f" and {len(cuts) - MAX_NAMES} below" if len(cuts) > MAX_NAMES else ""
    return f"it can be cut at these layers, from the top: {', '.join(cuts[:MAX_NAMES])}{more}"


def _block_inputs(model: Model) -> list[str]:
    """Return the layer below each block, from the bottom to the top; the first block has none."""
    inputs: dict[str, str | None] = {}
    below = None
    for operation, is_single in _walk(model):
        if block := BLOCK.match(operation.name):
            inputs.setdefault(block[0], below)
        if is_single:
            below = operation.name
    return list(dict.fromkeys(name for name in inputs.values() if name is not None))


def _walk(model: Model) -> Iterator[tuple[Any, bool]]:
    """Yield each operation in the order of computing, and whether later operations need its output alone.

    A tensor is alive from the operation that computes it to the last operation that uses it. If the
    output of the layer computed last is the only tensor alive, no connection skips that layer. Only the first
    use of a shared layer counts, so that a skip by a later use is not seen; building the layers above finds it.
    """
    keras = import_keras()
    edges = [(operation, *_tensor_ids(operation)) for operation in model.operations]
    last_use = {tensor: i for i, (_, inputs, _) in enumerate(edges) for tensor in inputs}
    last_use[id(model.outputs[0])] = len(edges)
    alive: set[int] = set()
    for i, (operation, _, outputs) in enumerate(edges):
        alive = {tensor for tensor in alive | set(outputs) if last_use.get(tensor, -1) > i}
        is_layer = isinstance(operation, keras.Layer) and not isinstance(operation, keras.layers.InputLayer)
        yield operation, is_layer and len(outputs) == 1 and alive == set(outputs)


def _tensor_ids(operation: Any) -> tuple[list[int], list[int]]:
    """Return the ids of an operation's input tensors and of its output tensors."""
    # `input` and `output` of a nested model are tensors of its inner graph; Operation's are those of this graph.
    keras = import_keras()
    pair = keras.Operation.input.fget(operation), keras.Operation.output.fget(operation)
    inputs, outputs = ([id(tensor) for tensor in keras.tree.flatten(side)] for side in pair)
    return inputs, outputs
