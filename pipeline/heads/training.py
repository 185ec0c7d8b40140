"""The training loop of the dense head: what `keras.Model.fit` computes, in a fraction of its time.

`fit` comes back to Python for each batch, takes float32 rows, and runs Adam as some ten operations
a weight. Here one compiled call makes many steps on rows as they are stored, each batch becoming
float32 inside it. The batches, the losses and the steps are those of `fit`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipeline.heads.adam import Adam
from pipeline.heads.grouping import one_of_each
from pipeline.heads.lazy_rows import Rows, bytes_per_row

STEPS = 64  # at most, in one compiled call: Ctrl-C waits for its end
CALL = 2**24  # bytes of features handed to one compiled call
READ = 2**27  # bytes of features read from disk at a time, and shuffled together
PIECE = 2**21  # bytes of neighbouring rows that are read in one go, wherever they lie

OnEpoch = Callable[[int, dict[str, float]], None]


class Labelled(NamedTuple):
    """Features and what a network is to say of them.

    Attributes
    ----------
    X : Rows
        (m, ...), of which `rows` are used.
    rows : ndarray of shape (n,), int
        Numbers of rows of X, in the order to go through where they are not shuffled.
    targets : ndarray of shape (m, 1), float32, or (m,), int64
        The probability of the second class, or the number of the class.
    weights : ndarray of shape (m,), float32
        Of the loss.
    groups : ndarray of shape (m,), int64, optional
        Of `check_groups`: equal where rows are views of one image, of which an epoch of training
        draws one.
    """

    X: Rows
    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    groups: np.ndarray | None = None


def train(
    model: Any,
    training: Labelled,
    validation: Labelled | None = None,
    *,
    learning_rate: float,
    epochs: int,
    batch_size: int,
    patience: int | None,
    on_epoch: OnEpoch | None,
    rng: np.random.Generator,
) -> dict[str, list[float]]:
    """Train what `network.build` made; see `DenseHead` for the parameters.

    Returns
    -------
    dict of str to list of float
        `loss` and `accuracy` of each epoch, measured on the way as `fit` does, and `val_loss` and
        `val_accuracy` after it.
    """
    course = Epochs(Network(model, learning_rate, batch_size), patience, rng)
    while course.done < epochs and not course.is_over:
        scores = course.run(training, validation)
        if on_epoch is not None:
            on_epoch(course.done, scores)
    course.take_best()
    return course.history


class Epochs:
    """The epochs of a training, one at a time.

    Parameters
    ----------
    network : Network
    patience : int, optional
        See `DenseHead`.
    rng : numpy.random.Generator
        Of the order of rows.

    Attributes
    ----------
    history : dict of str to list of float
        See `train`.
    seconds : list of float
        What each epoch took.
    best, best_epoch, best_weights
        The lowest loss that is watched, its epoch, and the weights after it; with `patience` only.
    """

    def __init__(self, network: Network, patience: int | None, rng: np.random.Generator):
        self.network, self.patience, self.rng = network, patience, rng
        self.history: dict[str, list[float]] = {}
        self.seconds: list[float] = []
        self.best, self.best_epoch = math.inf, 0
        self.best_weights: list[np.ndarray] | None = None

    @property
    def done(self) -> int:
        """How many epochs were run."""
        return len(self.seconds)

    @property
    def is_over(self) -> bool:
        """Whether patience is at its end."""
        if self.patience is None or self.best_weights is None:
            return False
        return self.done - self.best_epoch >= self.patience

    def run(
        self, training: Labelled, validation: Labelled | None, on_rows: Callable[[int], None] | None = None
    ) -> dict[str, float]:
        """One epoch; its losses and accuracies. The rows may be others than in the epoch before."""
        start = time.perf_counter()
        drawn = None if training.groups is None else one_of_each(training.groups, self.rng)
        order = epoch_order(training.X, self.network.batch_size, self.rng, drawn)
        scores = self.network.run("train", training._replace(rows=order), on_rows)
        if validation is not None:
            scores |= self.score(validation)
        for name, score in scores.items():
            self.history.setdefault(name, []).append(score)
        self.seconds.append(time.perf_counter() - start)
        if self.patience is not None:
            self.keep_if_best(scores["loss" if validation is None else "val_loss"])
        return scores

    def score(self, validation: Labelled) -> dict[str, float]:
        """`val_loss` and `val_accuracy` of the weights as they are."""
        return {f"val_{name}": score for name, score in self.network.run("score", validation).items()}

    def keep_if_best(self, watched: float) -> None:
        """Take note of the loss that is watched, and of the weights if it is the lowest so far."""
        if watched < self.best or self.best_weights is None:
            self.best, self.best_epoch, self.best_weights = watched, self.done, self.network.model.get_weights()

    def take_best(self) -> None:
        """Go back to the best weights, where they were kept."""
        if self.best_weights is not None:
            self.network.model.set_weights(self.best_weights)


class Network:
    """A network with its loss and optimiser, compiled once for each dtype of features.

    Parameters
    ----------
    model : keras.Model
        Ends in one sigmoid or in a softmax.
    learning_rate : float
    batch_size : int
        Rows a step; the last one of an epoch may have fewer.
    forward : callable, optional
        What computes the model's outputs of rows, with `training` by its name; the model itself if
        not given.
    """

    def __init__(
        self, model: Any, learning_rate: float, batch_size: int, forward: Callable[..., tf.Tensor] | None = None
    ):
        self.model, self.batch_size, self.forward = model, batch_size, forward or model
        self.adam = Adam(model.trainable_weights, learning_rate)
        self.row_shape, outputs = model.input_shape[1:], model.output_shape[-1]
        if outputs == 1:
            self.targets = tf.TensorSpec((None, 1), tf.float32)
            self.loss, self.right = keras.losses.BinaryCrossentropy(), keras.metrics.binary_accuracy
        else:
            self.targets = tf.TensorSpec((None,), tf.int64)
            self.loss, self.right = (
                keras.losses.SparseCategoricalCrossentropy(),
                keras.metrics.sparse_categorical_accuracy,
            )
        self.compiled: dict[tuple[str, np.dtype], Any] = {}

    def run(self, what: str, data: Labelled, on_rows: Callable[[int], None] | None = None) -> dict[str, float]:
        """Go through `data.rows` once, to "train" or to "score"; their mean loss and accuracy.

        `on_rows` is told now and then how many rows more are done.
        """
        call = self._compiled(what, data.X.dtype)
        sums = np.zeros(2)
        for rows, features in blocks(data.X, data.rows, self.batch_size):
            sums += call(features, data.targets[rows], data.weights[rows]).numpy()
            if on_rows is not None:
                on_rows(len(rows))
        loss, accuracy = sums / len(data.rows)
        return {"loss": float(loss), "accuracy": float(accuracy)}

    def _compiled(self, what: str, dtype: np.dtype) -> Any:
        if (what, dtype) not in self.compiled:
            rows = tf.TensorSpec((None, *self.row_shape), dtype), self.targets, tf.TensorSpec((None,), tf.float32)
            function = {"train": self._train, "score": self._score}[what]
            self.compiled[what, dtype] = tf.function(function, input_signature=rows)
        return self.compiled[what, dtype]

    def _train(self, features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """A step a batch; the sums of losses and of right answers over the rows."""
        sums = tf.zeros(2)
        for start in tf.range(0, tf.shape(features)[0], self.batch_size):
            stop = start + self.batch_size
            with tf.GradientTape() as tape:
                found, loss = self._forward(features[start:stop], targets[start:stop], weights[start:stop], True)
            self.adam.step(tape.gradient(loss, self.adam.weights))
            sums += found
        return sums

    def _score(self, features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        return self._forward(features, targets, weights, False)[0]

    def _forward(self, features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, training: bool) -> Any:
        outputs = self.forward(tf.cast(features, tf.float32), training=training)
        loss = self.loss(targets, outputs, sample_weight=weights)
        rows = tf.cast(tf.shape(features)[0], tf.float32)
        return tf.stack([loss * rows, tf.reduce_sum(tf.cast(self.right(targets, outputs), tf.float32))]), loss


def epoch_order(X: Rows, batch_size: int, rng: np.random.Generator, drawn: np.ndarray | None = None) -> np.ndarray:
    """A new order of the rows of X, or of those that the mask `drawn` has, ndarray of shape (n,), int64.

    Rows of an array come in any order. Rows that are read from disk would come a hundred times
    slower so: they are shuffled on two levels, pieces of neighbouring rows first, then the rows of
    as many pieces as are read at a time, 64 or so. Where all of X is read at a time that is any
    order too.
    """
    n = len(X)
    if isinstance(X, np.ndarray):
        return rng.permutation(n if drawn is None else np.flatnonzero(drawn))
    piece, read = max(1, PIECE // bytes_per_row(X)), _whole_batches(READ, X, batch_size)
    starts = rng.permutation(np.arange(0, n, piece))
    order = np.concatenate([np.arange(start, min(start + piece, n)) for start in starts])
    order = order if drawn is None else order[drawn[order]]
    for start in range(0, len(order), read):
        rng.shuffle(order[start : start + read])
    return order


def blocks(X: Rows, rows: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`rows` in turn, with their features, as many as one compiled call takes: whole batches but for the last.

    What comes next is read in another thread meanwhile, so that memory holds up to two readings.
    """
    call = min(STEPS * batch_size, _whole_batches(CALL, X, batch_size))
    read = call if isinstance(X, np.ndarray) else _whole_batches(READ, X, batch_size)
    readings = [rows[start : start + read] for start in range(0, len(rows), read)]
    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(X.__getitem__, reading) for reading in readings[:1]]
        for number, reading in enumerate(readings, start=1):
            features = coming.pop().result()
            coming = [reader.submit(X.__getitem__, following) for following in readings[number : number + 1]]
            for start in range(0, len(reading), call):
                yield reading[start : start + call], features[start : start + call]


def _whole_batches(size: int, X: Rows, batch_size: int) -> int:
    """How many rows of X fit into `size` bytes, in batches; one batch at least."""
    return max(1, size // (batch_size * bytes_per_row(X))) * batch_size
