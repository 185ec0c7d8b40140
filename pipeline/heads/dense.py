"""The dense head: a small fully connected network, trained with Keras."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted

from pipeline.defaults import DROPOUT, EPOCHS, HEAD_BATCH, LEARNING_RATE, UNITS
from pipeline.heads.base import Head
from pipeline.heads.grouping import check_groups
from pipeline.heads.shared_features import SharedFeatures

if TYPE_CHECKING:
    from pipeline.heads.training import Labelled

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
    is_network = True

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
        groups: Any = None,
    ) -> DenseHead:
        """Train the head.

        Parameters
        ----------
        X : ndarray, `Rows` or `SharedFeatures` of shape (n, height, width, channels) or (n, d), any float
            May be larger than memory as `Rows`, `store.on_demand("train")[0]` say. A batch at a time
            becomes float32.
        y : ndarray of shape (n,)
            Labels, at least two different ones.
        validation_data : (X, y), optional
            Rows of a class that is not in `y` are left out, with a warning.
        on_epoch : callable, optional
            Called after each epoch with its number, from 1, and its losses and accuracies.
        groups : ndarray of shape (n,), optional
            Equal where rows are views of one image. Each epoch goes through one row of each group,
            drawn anew.

        Raises
        ------
        ValueError
            See `Head._check_training_set`.
        """
        from pipeline.heads import network, training

        features, y = self._check_training_set(X, y)
        self.check_params()
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        model = network.build(self.feature_shape_, len(self.classes_), self.units, self.dropout, rng)
        self.history_ = training.train(
            model,
            self._labelled(features, y, compute_sample_weight(self.class_weight, y))._replace(
                groups=check_groups(groups, y)
            ),
            None if validation_data is None else self._validation(*validation_data),
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            patience=self.patience,
            on_epoch=on_epoch,
            rng=rng,
        )
        self.model_ = model
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, float32 of shape (n, k), columns as in `classes_`."""
        from pipeline.heads import network

        features = self._check_rows(X)
        probabilities = network.outputs(self.model_, features.rows)
        return np.hstack([1 - probabilities, probabilities]) if len(self.classes_) == 2 else probabilities

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row, shape (n,)."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def count_parameters(self) -> int:
        """How many weights are trained."""
        check_is_fitted(self)
        return sum(int(np.prod(weight.shape)) for weight in self.model_.trainable_weights)

    def check_params(self) -> None:
        """Whether the parameters are in range; `fit` checks it too.

        Raises
        ------
        ValueError, TypeError
            One is not; it is named.
        """
        for name in ("epochs", "batch_size"):
            check_scalar(getattr(self, name), name, numbers.Integral, min_val=1)
        check_scalar(self.learning_rate, "learning_rate", numbers.Real, min_val=0, include_boundaries="neither")

    def _labelled(self, features: SharedFeatures, y: np.ndarray, weights: np.ndarray) -> Labelled:
        from pipeline.heads.training import Labelled

        places = np.searchsorted(self.classes_, y)
        targets = places[:, None].astype(np.float32) if len(self.classes_) == 2 else places
        return Labelled(features.rows, np.arange(len(y)), targets, weights.astype(np.float32))

    def _validation(self, X: Any, y: Any) -> Labelled | None:
        y = np.asarray(y)
        known = np.isin(y, self.classes_)
        if not known.all():
            logger.warning("dense: %d validation rows are of classes that were not trained on", (~known).sum())
        if not known.any():
            return None
        labelled = self._labelled(self._check_like_training(X), y, np.ones(len(y)))
        return labelled._replace(rows=np.flatnonzero(known))
