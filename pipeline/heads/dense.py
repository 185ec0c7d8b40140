"""The dense head: a small fully connected network, trained with Keras."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted

from pipeline.defaults import DROPOUT, EPOCHS, HEAD_BATCH, LEARNING_RATE, UNITS
from pipeline.heads.batches import LabelledRows
from pipeline.heads.folds import number_groups
from pipeline.heads.head import Head, OnEpoch, parameter_errors
from pipeline.heads.shared_features import SharedFeatures

logger = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class DenseHead(Head):
    """Flatten, dense layers with ReLU, and one sigmoid; a softmax where there are more than two classes.

    With the default `units` and two classes this is the head of the slides: on features of shape
    (4, 4, 512) it has 409,650 + 1,275 + 26 = 410,951 weights. The loss is cross-entropy, the
    optimiser Adam (Kingma and Ba, 2015). Adam's steps do not depend on the scale of the gradient,
    which suits features that are not scaled: their range differs between conv bases, from below 1
    to some hundreds.

    Parameters
    ----------
    units : tuple of int
        Widths of the hidden layers.
    dropout : float
        Fraction of the units that is dropped after each hidden layer during training.
    learning_rate : float
        Step size of Adam.
    epochs : int
        Maximum number of passes over the training set.
    batch_size : int
        Rows per step.
    patience : int, optional
        Stop when the validation loss (the training loss without validation data) has not improved
        for this many epochs, and go back to the weights of the best epoch. Without it all epochs are
        run and the last weights are taken.
    class_weight : "balanced" or dict, optional
        Weights of the classes in the training loss, as in scikit-learn.
    random_state : int
        Seed of the initial weights, the order of rows and the dropout. No global random state is
        read or changed.

    Attributes
    ----------
    model_ : keras.Sequential
        From features to the probability of the second class, (n, 1), or of each class, (n, k).
    epoch_chosen_on_ : "train", "validation" or None
        The split whose loss chose the epoch; None without `patience`. Not saved with the head.
    history_ : dict of str to list of float
        `loss`, `accuracy`, and with validation data `val_loss`, `val_accuracy`, one value per epoch.
        Not saved with the head.
    """

    name = "dense"
    is_network = True

    units: tuple[int, ...] = UNITS
    dropout: float = DROPOUT
    learning_rate: float = LEARNING_RATE
    epochs: int = EPOCHS
    batch_size: int = HEAD_BATCH
    patience: int | None = None
    class_weight: str | Mapping[Any, float] | None = None
    random_state: int | None = 0

    def fit(
        self,
        X: Any,
        y: Any,
        validation_data: tuple[Any, Any] | None = None,
        on_epoch: OnEpoch | None = None,
        groups: Any = None,
        images: Any = None,
        held_out: Any = None,
    ) -> DenseHead:
        """Train the head; a HeadError says that a parameter is out of range or the loss no longer finite.

        Parameters
        ----------
        X : ndarray, `Rows` or `SharedFeatures` of shape (n, height, width, channels) or (n, d), any float
            May be larger than memory as `Rows`, such as `store.on_demand("train")[0]`. One batch at a
            time becomes float32.
        y : ndarray of shape (n,)
            Labels, at least two different ones.
        validation_data : (X, y), optional
            Rows of a class that is not in `y` are left out, with a warning.
        on_epoch : callable, optional
            Called after each epoch with its number, from 1, and its losses and accuracies. An error
            that it raises ends the training and reaches the caller unchanged.
        groups : ndarray of shape (n,), optional
            Not used; here for the common signature of heads.
        images : ndarray of shape (n,), optional
            Equal where rows are views of one image. Each epoch draws one view of each image.
        held_out : ndarray of shape (n,), bool, optional
            Rows that are not trained on. With `patience`, the loss on them chooses the epoch instead of
            the validation loss.
        """
        from pipeline.heads.compiled_network import CompiledNetwork
        from pipeline.heads.dense_network import build_network
        from pipeline.heads.epoch_loop import EpochLoop

        training, validation, held_out = self._check_data(X, y, validation_data, images, held_out)
        with parameter_errors(self.name):
            rng = self._make_rng()
            model = build_network(self.feature_shape_, len(self.classes_), self.units, self.dropout, rng)
        loop = EpochLoop(CompiledNetwork(model, self.learning_rate, self.batch_size), self.patience, rng)
        loop.run(training, validation, self.epochs, on_epoch, held_out=held_out)
        self.history_, self.model_ = loop.history, model
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, float32 of shape (n, k), columns as in `classes_`."""
        from pipeline.heads.dense_network import predict_outputs

        features = self._check_rows(X)
        probabilities = predict_outputs(self.model_, features.rows)
        return np.hstack([1 - probabilities, probabilities]) if len(self.classes_) == 2 else probabilities

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of each row, shape (n,)."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def count_parameters(self) -> int:
        """Return the number of trained weights."""
        check_is_fitted(self)
        return sum(int(np.prod(weight.shape)) for weight in self.model_.trainable_weights)

    def check_params(self) -> None:
        """Check that the numbers of the training are in range; `fit` does it, too. A HeadError names the parameter."""
        with parameter_errors(self.name):
            for name in ("epochs", "batch_size"):
                check_scalar(getattr(self, name), name, numbers.Integral, min_val=1)
            check_scalar(self.learning_rate, "learning_rate", numbers.Real, min_val=0, include_boundaries="neither")
            if self.patience is not None:
                check_scalar(self.patience, "patience", numbers.Integral, min_val=1)

    def _make_rng(self) -> np.random.Generator:
        return np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))

    def _check_data(
        self, X: Any, y: Any, validation_data: tuple[Any, Any] | None, images: Any, held_out: Any
    ) -> tuple[LabelledRows, LabelledRows | None, LabelledRows | None]:
        """Check the arguments of `fit` and return the rows to train on, to validate on, and those held out."""
        features, y = self._check_training_set(X, y)
        self.check_params()
        with parameter_errors(self.name):
            weights = compute_sample_weight(self.class_weight, y)
        training = self._label_rows(features, y, weights)
        if images is not None:
            training = training._replace(images=number_groups(images, y))
        validation = None if validation_data is None else self._label_validation(*validation_data)
        self.epoch_chosen_on_ = None
        if self.patience is not None:
            self.epoch_chosen_on_ = "train" if held_out is not None or validation is None else "validation"
        if held_out is None:
            return training, validation, None
        first = np.unique(range(len(y)) if training.images is None else training.images, return_index=True)[1]
        watched = training._replace(rows=first[held_out[first]], images=None)  # augmented copies are not scored
        return training._replace(rows=np.flatnonzero(~held_out)), validation, watched

    def _label_rows(self, features: SharedFeatures, y: np.ndarray, weights: np.ndarray) -> LabelledRows:
        codes = np.searchsorted(self.classes_, y)
        targets = codes[:, None].astype(np.float32) if len(self.classes_) == 2 else codes
        return LabelledRows(features.rows, np.arange(len(y)), targets, weights.astype(np.float32))

    def _label_validation(self, X: Any, y: Any) -> LabelledRows | None:
        y = np.asarray(y)
        has_known_class = np.isin(y, self.classes_)
        if unknown := np.count_nonzero(~has_known_class):
            logger.warning("%s: %d validation rows are of classes that were not trained on", self.name, unknown)
        if unknown == len(y):
            return None
        rows = self._label_rows(self._check_like_training(X), y, np.ones(len(y)))
        return rows._replace(rows=np.flatnonzero(has_known_class))
