"""Assign the weights of a model and compute their sha256."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.conv_base.keras_setup import Model, all_layers
from pipeline.files.durable import canonical_json


def weights_sha256(model: Model) -> str:
    """Return the sha256 of the shapes and float32 values of a model's weights, in the order of `model.weights`.

    Names are not included, so the same weights have the same sha256 whichever file they came from.
    """
    digest = hashlib.sha256()
    for variable in model.weights:
        values = np.asarray(variable.numpy(), dtype="<f4")
        digest.update(canonical_json(list(values.shape)).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def set_weights(model: Model, values: Iterable[tuple[Any, Any]]) -> None:
    """Assign pairs of a variable of the model and an array, and update layers that keep copies of their weights."""
    for variable, array in values:
        variable.assign(array)
    for layer in all_layers(model):
        if hasattr(layer, "finalize_state"):  # Normalization computes with copies of its weights
            layer.finalize_state()
