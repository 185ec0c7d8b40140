"""The Keras side of the dense head: the network, the batches it is fed, and how it is asked.

The only module of `heads` that imports Keras; `dense` and `files` import it when they need it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

PREDICT_ROWS = 128


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


class Batches(keras.utils.PyDataset):
    """Rows of features by the batch; only the rows of a batch become float32.

    Parameters
    ----------
    X : ndarray of shape (n, ...), any float
    targets : ndarray of shape (n,) or (n, 1)
    batch_size : int
    weights : ndarray of shape (n,), optional
    rng : numpy.random.Generator, optional
        Draws a new order for each epoch; without it rows keep theirs.
    """

    def __init__(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        batch_size: int,
        weights: np.ndarray | None = None,
        rng: np.random.Generator | None = None,
    ):
        super().__init__()
        self.X = X
        self.targets = targets
        self.batch_size = batch_size
        self.weights = weights
        self.rng = rng
        self.order = np.arange(len(X))

    def __len__(self) -> int:
        return -(-len(self.X) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        batch = np.asarray(self.X[rows], dtype=np.float32), self.targets[rows]
        return batch if self.weights is None else (*batch, self.weights[rows])

    def on_epoch_end(self) -> None:
        """Shuffle; Keras calls this before the first epoch too."""
        if self.rng is not None:
            self.order = self.rng.permutation(len(self.X))


def train(
    model: Any,
    training: Batches,
    validation: Batches | None,
    learning_rate: float,
    epochs: int,
    patience: int | None,
    on_epoch: Callable[[int, dict[str, float]], None] | None,
) -> dict[str, list[float]]:
    """Train what `build` made; see `DenseHead` for the parameters.

    Returns
    -------
    dict of str to list of float
        Loss and accuracy of each epoch.
    """
    loss = "binary_crossentropy" if model.output_shape[-1] == 1 else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(learning_rate), loss=loss, metrics=["accuracy"])
    callbacks = []
    if patience is not None:
        monitor = "loss" if validation is None else "val_loss"
        callbacks.append(
            keras.callbacks.EarlyStopping(monitor, mode="min", patience=patience, restore_best_weights=True)
        )
    if on_epoch is not None:
        report = on_epoch
        callbacks.append(
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: report(epoch + 1, _as_floats(logs)))
        )
    fitted = model.fit(
        training, validation_data=validation, epochs=epochs, callbacks=callbacks, shuffle=False, verbose=0
    )
    return {name: [float(value) for value in values] for name, values in fitted.history.items()}


def _as_floats(logs: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items()}


def outputs(model: Any, X: np.ndarray) -> np.ndarray:
    """What the network says of each row, float32 of shape (n, 1) or (n, k).

    Every batch has `PREDICT_ROWS` rows, the last one padded: one trace in the life of a model, and
    the same numbers for a row whatever stands beside it.
    """
    batch = np.zeros((PREDICT_ROWS, *X.shape[1:]), dtype=np.float32)
    found = []
    for start in range(0, len(X), PREDICT_ROWS):
        rows = X[start : start + PREDICT_ROWS]
        batch[: len(rows)] = rows
        found.append(model.predict_on_batch(batch)[: len(rows)])
    return np.concatenate(found)


def to_bytes(model: Any) -> bytes:
    """The model as the bytes of a `.keras` file, without the state of its optimiser."""
    bare = keras.Sequential.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.keras"
        bare.save(path)
        return path.read_bytes()


def from_file(path: str | os.PathLike[str], row_shape: tuple[int, ...], classes: int) -> Any:
    """Load a `.keras` file in safe mode, in which no code in it is run.

    Raises
    ------
    ValueError
        It is no network from `row_shape` to `classes`, or Keras refuses it.
    """
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    shapes = (tuple(model.input_shape[1:]), tuple(model.output_shape[1:]))
    expected = (row_shape, (1 if classes == 2 else classes,))
    if shapes != expected:
        raise ValueError(f"it maps {shapes[0]} to {shapes[1]}, expected {expected[0]} to {expected[1]}")
    return model
