"""The numbers of a conv base: assigned, drawn at random, and their sha256."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.conv_base.keras_setup import all_layers
from pipeline.files.durable import canonical_json

if TYPE_CHECKING:
    import keras


def weights_sha256(model: keras.Model) -> str:
    """The sha256 of a model's weights: shape and float32 values of each, in the order of `model.weights`.

    Names do not count, so the same numbers have the same sha256 whatever file they came from.
    """
    digest = hashlib.sha256()
    for variable in model.weights:
        values = np.asarray(variable.numpy(), dtype="<f4")
        digest.update(canonical_json(list(values.shape)).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def set_weights(model: keras.Model, values: Iterable[tuple[Any, Any]]) -> None:
    """Assign each (variable of the model, array) and let layers take note of their new weights."""
    for variable, array in values:
        variable.assign(array)
    for layer in all_layers(model):
        if hasattr(layer, "finalize_state"):  # Normalization computes with copies of its weights
            layer.finalize_state()


def draw_weights(model: keras.Model) -> None:
    """Draw every weight of two or more dimensions; biases and normalisations keep their initial values.

    Glorot and Bengio's uniform distribution (2010), from the raw stream of numpy's PCG64 seeded
    with (0, position in `model.weights`): no global state, and the same numbers whatever the
    version of Keras or numpy.
    """
    drawn = [(n, variable) for n, variable in enumerate(model.weights) if len(variable.shape) >= 2]
    set_weights(model, ((variable, _glorot_uniform(tuple(variable.shape), n)) for n, variable in drawn))


def _glorot_uniform(shape: tuple[int, ...], position: int) -> np.ndarray:
    *window, inputs, outputs = shape
    if len(shape) == 4 and outputs == 1:  # a depthwise kernel: each channel sees only itself
        inputs = 1
    limit = math.sqrt(6 / (math.prod(window) * (inputs + outputs)))
    bits = np.random.PCG64([0, position]).random_raw(math.prod(shape))  # uint64
    unit = (bits >> np.uint64(11)) * 2.0**-53  # [0, 1)
    return ((2 * unit - 1) * limit).astype(np.float32).reshape(shape)
