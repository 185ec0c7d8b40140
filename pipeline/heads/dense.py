"""The dense head: a small fully connected network, trained with Keras."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted

from pipeline.defaults import DROPOUT, EPOCHS, HEAD_BATCH, LEARNING_RATE, UNITS
from pipeline.heads.base import Head

logger = logging.getLogger(__name__)

OnEpoch = Callable[[int, dict[str, float]], None]


class DenseHead(Head):
    """Flatten, dense layers with ReLU, and one sigmoid; or a softmax where there are more classes.

    With the default `units` and two classes this is the head of the slides: on features of shape
    (4, 4, 512) it has 409,650 + 1,275 + 26 = 410,951 weights. The loss is cross-entropy, the
    optimiser Adam (Kingma and Ba, 2015), whose steps do not depend on the scale of the gradient:
    features come unscaled, and range from below 1 to some hundreds from one conv base to another.

    Parameters
    ----------
    units : tuple of int
        Widths of the hidden layers.
    dropout : float
        Share of units left out after each hidden layer while training.
    learning_rate : float
    epochs : int
        Passes over the training set, at most.
    batch_size : int
        Rows a step.
    patience : int, optional
        Stop when the validation loss (the training loss without validation data) has not improved
        for this many epochs, and go back to the best epoch's weights. Without it all epochs are
        run and the last weights kept.
    class_weight : "balanced" or dict, optional
        Weights of the training loss, as in scikit-learn.
    random_state : int
        Of the initial weights, the order of rows and the dropout. No global random state is read
        or changed.

    Attributes
    ----------
    model_ : keras.Sequential
        From features to the probability of the second class, (n, 1), or of each class, (n, k).
    history_ : dict of str to list of float
        `loss`, `accuracy`, and with validation data `val_loss`, `val_accuracy`; a value an epoch.
        Not saved with the head.
    """

    name = "dense"

    def __init__(
        self,
        units: tuple[int, ...] = UNITS,
        dropout: float = DROPOUT,
        learning_rate: float = LEARNING_RATE,
        epochs: int = EPOCHS,
        batch_size: int = HEAD_BATCH,
        patience: int | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        random_state: int | None = 0,
    ):
        self.units = units
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        validation_data: tuple[Any, Any] | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> DenseHead:
        """Train the head.

        Parameters
        ----------
        X : ndarray of shape (n, height, width, channels) or (n, d), any float
            May be a read-only memory map; a batch at a time becomes float32.
        y : ndarray of shape (n,)
            Labels, at least two different ones.
        validation_data : (X, y), optional
            Rows of a class that is not in `y` are left out, with a warning.
        on_epoch : callable, optional
            Called after each epoch with its number, from 1, and its losses and accuracies.

        Raises
        ------
        ValueError
            See `Head._check_training_set`.
        """
        from pipeline.heads import network

        X, y = self._check_training_set(X, y)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        weights = None if self.class_weight is None else compute_sample_weight(self.class_weight, y).astype(np.float32)
        training = network.Batches(X, self._targets(y), self.batch_size, weights, rng)
        validation = None
        if validation_data is not None:
            X_validation, y_validation = self._known_classes(*validation_data)
            if len(y_validation):
                X_validation = self._check_like_training(X_validation)
                validation = network.Batches(X_validation, self._targets(y_validation), self.batch_size)
        model = network.build(self.feature_shape_, len(self.classes_), self.units, self.dropout, rng)
        self.history_ = network.train(
            model, training, validation, self.learning_rate, self.epochs, self.patience, on_epoch
        )
        self.model_ = model
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, float32 of shape (n, k), columns as in `classes_`."""
        from pipeline.heads import network

        X = self._check_rows(X)
        probabilities = network.outputs(self.model_, X)
        return np.hstack([1 - probabilities, probabilities]) if len(self.classes_) == 2 else probabilities

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row, shape (n,)."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def count_parameters(self) -> int:
        """How many weights are trained."""
        check_is_fitted(self)
        return sum(int(np.prod(weight.shape)) for weight in self.model_.trainable_weights)

    def _targets(self, y: np.ndarray) -> np.ndarray:
        numbers = np.searchsorted(self.classes_, y)
        return numbers[:, None].astype(np.float32) if len(self.classes_) == 2 else numbers

    def _known_classes(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        y = np.asarray(y)
        known = np.isin(y, self.classes_)
        if known.all():
            return X, y
        logger.warning("dense: %d validation rows are of classes that were not trained on", (~known).sum())
        return X[known], y[known]
