"""Where a conv base can be cut in two: which layers' outputs are all that the layers above need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.conv_base.keras_setup import import_keras
from pipeline.errors import SpecError

if TYPE_CHECKING:
    import keras

TOP = re.compile(r"top([1-9]\d{0,2})")
# How `keras.applications` names the layers a block begins with. A block is what carries the last
# number that the layers share: the five of VGG and ResNet, a stage of EfficientNet and ConvNeXt, an
# inverted residual of MobileNetV2 and V3, a dense block of DenseNet, a module of Inception.
BLOCK = re.compile(r"(?:block_?|conv(?=\d+_block)|conv_dw_|expanded_conv_|mixed|convnext_\w+_stage_)\d+")
SHOWN = 12  # layers in an error


def cut_of(model: keras.Model, cut: str, name: str) -> str:
    """The layer that `cut` means: itself, or the input of the top n blocks for `topN`.

    Raises
    ------
    SpecError
        The model has fewer blocks, or blocks that cannot be told or cut apart; the message lists the
        layers that can be named instead.
    """
    found = TOP.fullmatch(cut)
    if found is None or any(layer.name == cut for layer in model.layers):
        return cut
    number, blocks = int(found[1]), _inputs_of_blocks(model)
    if number > len(blocks):
        has = f"{len(blocks)} blocks that can be cut off, not {number}" if blocks else "no blocks known by name"
        raise SpecError(f"{name} has {has}; {cuts_words(model)}")
    return blocks[-number]


def single_cuts(model: keras.Model) -> list[str]:
    """The layers whose output is all that the layers above them need, from the bottom to the top.

    No connection skips such a layer: every way from the images to the features leads through it (it
    dominates the output in the graph). The last one is the model's own output.
    """
    return [operation.name for operation, is_single in _walk(model) if is_single]


def cuts_words(model: keras.Model) -> str:
    """Which layers a model can be cut at for fine-tuning, the uppermost first, fit for an error."""
    cuts = single_cuts(model)[-2::-1]
    if not cuts:
        return "there is no layer that everything above it needs alone"
    more = f" and {len(cuts) - SHOWN} below" if len(cuts) > SHOWN else ""
    return f"layers that everything above needs alone, from the top: {', '.join(cuts[:SHOWN])}{more}"


def _inputs_of_blocks(model: keras.Model) -> list[str]:
    """The layer to cut at below each block, from the bottom to the top; none below the first block."""
    inputs: dict[str, str | None] = {}
    below = None
    for operation, is_single in _walk(model):
        if found := BLOCK.match(operation.name):
            inputs.setdefault(found[0], below)
        if is_single:
            below = operation.name
    return list(dict.fromkeys(name for name in inputs.values() if name is not None))


def _walk(model: keras.Model) -> Iterator[tuple[Any, bool]]:
    """Each operation in the order of computing, and whether it is a layer whose output alone is needed later.

    A tensor is alive from when it is computed until its last use. Where just one is, and it is the
    output of the layer that was computed last, nothing skips that layer.
    """
    keras = import_keras()
    edges = [(operation, *_tensors(operation)) for operation in model.operations]
    last_use = {tensor: number for number, (_, inputs, _) in enumerate(edges) for tensor in inputs}
    last_use[id(model.outputs[0])] = len(edges)
    alive: set[int] = set()
    for number, (operation, _, outputs) in enumerate(edges):
        alive = {tensor for tensor in alive | set(outputs) if last_use.get(tensor, -1) > number}
        is_layer = isinstance(operation, keras.Layer) and not isinstance(operation, keras.layers.InputLayer)
        yield operation, is_layer and len(outputs) == 1 and alive == set(outputs)


def _tensors(operation: Any) -> tuple[list[int], list[int]]:
    # A nested model's own `input` and `output` belong to its inner graph; Operation's are of its call here.
    keras = import_keras()
    try:
        pair = keras.Operation.input.fget(operation), keras.Operation.output.fget(operation)
    except (ValueError, AttributeError):
        raise SpecError(f"layer {operation.name!r} is used more than once, so its model cannot be cut in two") from None
    inputs, outputs = ([id(tensor) for tensor in keras.tree.flatten(side)] for side in pair)
    return inputs, outputs
