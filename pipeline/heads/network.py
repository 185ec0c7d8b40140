"""The network of the dense head: how it is built, asked, saved and loaded.

This module and `training` import Keras; `dense` and `files` import them when they need them.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.files.untrusted import check_untrusted_keras
from pipeline.heads.lazy_rows import Rows

PREDICT_ROWS, PREDICT_BYTES = 128, 2**27  # of a batch, at most: maps of a low cut are large


def build(
    row_shape: tuple[int, ...], classes: int, units: Sequence[int], dropout: float, rng: np.random.Generator
) -> Any:
    """The network, untrained and not compiled.

    Layers have names of their own and initialisers seeds of their own, so that building it leaves
    Keras' counters and every global random state as they were.

    Parameters
    ----------
    row_shape : tuple of int
        Of one row of features, (4, 4, 512).
    classes : int
        One sigmoid for 2, otherwise a softmax over all.
    units, dropout
        See `DenseHead`.
    rng : numpy.random.Generator
        Where the seeds are drawn from.

    Returns
    -------
    keras.Sequential
        (None, *row_shape) to (None, 1) or (None, classes).
    """

    def seed() -> int:
        return int(rng.integers(2**31))

    def dense(width: int, role: str, name: str) -> Any:
        return keras.layers.Dense(
            width, activation=role, kernel_initializer=keras.initializers.GlorotUniform(seed()), name=name
        )

    layers = [keras.Input(row_shape, name="features"), keras.layers.Flatten(name="flatten")]
    for number, width in enumerate(units, start=1):
        layers.append(dense(width, "relu", f"dense_{number}"))
        if dropout:
            layers.append(keras.layers.Dropout(dropout, seed=seed(), name=f"dropout_{number}"))
    layers.append(dense(1, "sigmoid", "probability") if classes == 2 else dense(classes, "softmax", "probability"))
    return keras.Sequential(layers, name="dense_head")


def stack_head(top_layers: Any, head: Any) -> Any:
    """The layers above a cut and a dense head as one model, which shares no layer of the head's.

    Parameters
    ----------
    top_layers : keras.Model
        (None, *shape of a map) to features; its layers are taken as they are.
    head : keras.Sequential
        Of `build`, from features to probabilities.

    Returns
    -------
    keras.Model
        Of two layers below its input, `upper` and `dense_head`.
    """
    maps = keras.Input(top_layers.input_shape[1:], name="maps")
    copy = keras.Sequential.from_config(head.get_config())
    copy.set_weights(head.get_weights())
    return keras.Model(maps, copy(top_layers(maps, training=False)), name="finetuned")


def outputs(model: Any, X: Rows) -> np.ndarray:
    """What the network says of each row, float32 of shape (n, 1) or (n, k).

    Every batch has as many rows, the last one padded: one trace in the life of a model, and the same
    numbers for a row whatever stands beside it.
    """
    batch = np.zeros((batch_rows(model), *X.shape[1:]), dtype=np.float32)
    found = []
    for start in range(0, len(X), len(batch)):
        rows = X[start : start + len(batch)]
        batch[: len(rows)] = rows
        found.append(model.predict_on_batch(batch)[: len(rows)])
    return np.concatenate(found)


def batch_rows(model: Any) -> int:
    """How many rows `outputs` hands to a network at a time."""
    widest = max(math.prod(shape[1:]) for shape in (model.input_shape, model.output_shape))
    return min(PREDICT_ROWS, max(1, PREDICT_BYTES // (np.dtype(np.float32).itemsize * widest)))


def to_bytes(model: Any) -> bytes:
    """The model as the bytes of a `.keras` file, without the state of its optimiser."""
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.keras"
        bare.save(path)
        return path.read_bytes()


def from_file(path: str | os.PathLike[str], row_shape: tuple[int, ...], classes: int) -> Any:
    """Load a `.keras` file in safe mode, in which no code in it is run, after its parts were checked.

    Raises
    ------
    ValueError
        It is no network from `row_shape` to `classes`, holds other than classes of Keras, or Keras
        refuses it.
    """
    check_untrusted_keras(Path(path))
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    shapes = (tuple(model.input_shape[1:]), tuple(model.output_shape[1:]))
    expected = (row_shape, (1 if classes == 2 else classes,))
    if shapes != expected:
        raise ValueError(f"it maps {shapes[0]} to {shapes[1]}, expected {expected[0]} to {expected[1]}")
    return model
