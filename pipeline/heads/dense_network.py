"""The Keras network of the dense and the fine-tuned head: how it is built and how it predicts."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from pipeline.heads.rows_on_demand import Rows

MAX_ROWS, MAX_BYTES = 128, 2**27  # of a batch that is predicted: maps of a low cut are large


def build_network(
    row_shape: tuple[int, ...], classes: int, units: Sequence[int], dropout: float, rng: np.random.Generator
) -> Any:
    """Build the untrained network of the dense head.

    Layers have their own names and initialisers their own seeds, so that building it changes
    neither the counters of Keras nor any global random state. It maps (None, *row_shape) to (None, 1)
    for two classes, a sigmoid, otherwise to (None, classes), a softmax.
    """

    def seed() -> int:
        return int(rng.integers(2**31))

    def dense(width: int, activation: str, name: str) -> Any:
        initializer = keras.initializers.GlorotUniform(seed())
        return keras.layers.Dense(width, activation=activation, kernel_initializer=initializer, name=name)

    layers = [keras.Input(row_shape, name="features"), keras.layers.Flatten(name="flatten")]
    for number, width in enumerate(units, start=1):
        layers.append(dense(width, "relu", f"dense_{number}"))
        if dropout:
            layers.append(keras.layers.Dropout(dropout, seed=seed(), name=f"dropout_{number}"))
    layers.append(dense(1, "sigmoid", "probability") if classes == 2 else dense(classes, "softmax", "probability"))
    return keras.Sequential(layers, name="dense_head")


def join_models(top_layers: Any, head: Any) -> Any:
    """Join the layers above a cut, which are shared, and a copy of a network of `build_network` into one model.

    The layers of the joined keras.Model after its input are `upper` and `dense_head`.
    """
    maps = keras.Input(top_layers.input_shape[1:], name="maps")
    copy = keras.Sequential.from_config(head.get_config())
    copy.set_weights(head.get_weights())
    return keras.Model(maps, copy(top_layers(maps, training=False)), name="finetuned")


def predict_outputs(model: Any, X: Rows) -> np.ndarray:
    """Return the outputs of a network for each row, float32 of shape (n, 1) or (n, k).

    All batches have the same number of rows, the last one padded: a model is traced once, and the
    outputs for a row do not depend on the other rows.
    """
    batch = np.zeros((rows_per_batch(model), *X.shape[1:]), dtype=np.float32)
    outputs = []
    for start in range(0, len(X), len(batch)):
        rows = X[start : start + len(batch)]
        batch[: len(rows)] = rows
        outputs.append(model.predict_on_batch(batch)[: len(rows)])
    return np.concatenate(outputs)


def rows_per_batch(model: Any) -> int:
    """Return the number of rows that `predict_outputs` gives to a network at a time."""
    widest = max(math.prod(shape[1:]) for shape in (model.input_shape, model.output_shape))
    return min(MAX_ROWS, max(1, MAX_BYTES // (np.dtype(np.float32).itemsize * widest)))
