"""Assign the weights of a model and compute their sha256."""

from __future__ import annotations

import hashlib
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
