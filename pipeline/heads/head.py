"""`Head`: how every head checks features, labels and parameters."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from pipeline.errors import HeadError
from pipeline.heads.rows_on_demand import is_read_on_demand
from pipeline.heads.shared_features import FLOATS, SharedFeatures

ClassWeight = str | Mapping[Any, float] | None  # "balanced", or the weight of each class
OnEpoch = Callable[[int, dict[str, float]], None]  # number of the epoch, from 1; its losses and accuracies


class Head(ClassifierMixin, BaseEstimator):
    """A classifier of features that follows scikit-learn's contract."""

    classes_: np.ndarray  # of shape (k,): the labels seen in `fit`, sorted
    feature_shape_: tuple[int, ...]  # of one row, (4, 4, 512)
    n_features_in_: int  # values in one row, 8192
    name: ClassVar[str]  # key of pipeline.heads.HEADS or TUNED_HEADS
    is_network: ClassVar[bool] = False  # True: a Keras model, `model_`; False: a scikit-learn pipeline, `pipeline_`

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_") or hasattr(self, "pipeline_")

    def count_parameters(self) -> int:
        """Return how many numbers learned from the features a prediction needs."""
        raise NotImplementedError

    def _check_training_set(self, X: Any, y: Any) -> tuple[SharedFeatures, np.ndarray]:
        """Check features and labels, and set `classes_`, `feature_shape_` and `n_features_in_`."""
        if _is_flat_array(X):
            X, y = validate_data(self, X, y, dtype=FLOATS)
            features = SharedFeatures(X)
        else:
            features = X if isinstance(X, SharedFeatures) else SharedFeatures(X)
            y = column_or_1d(y, warn=True)
            check_consistent_length(features, y)
            self.n_features_in_ = math.prod(features.shape[1:])
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        self.feature_shape_ = features.shape[1:]
        if len(self.classes_) < 2:
            raise ValueError(f"all {len(y)} labels are of one class, {self.classes_[0]}; a head needs two")
        return features, y

    def _check_rows(self, X: Any) -> SharedFeatures:
        """Check that the head is fitted and that X has finite rows of the shape of the training rows."""
        check_is_fitted(self)
        return self._check_like_training(X)

    def _check_like_training(self, X: Any) -> SharedFeatures:
        if len(self.feature_shape_) == 1 and _is_flat_array(X):
            return SharedFeatures(validate_data(self, X, dtype=FLOATS, reset=False))
        features = X if isinstance(X, SharedFeatures) else SharedFeatures(X)
        if features.shape[1:] != self.feature_shape_:
            raise ValueError(f"X has rows of shape {features.shape[1:]}; this head was fitted on {self.feature_shape_}")
        return features


@contextmanager
def parameter_errors(name: str) -> Iterator[None]:
    """Raise what scikit-learn and Keras say about a head's parameters as a HeadError.

    No callback of a caller may run inside: its errors are not about parameters.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        raise HeadError(f"{name} cannot be trained: {error}") from error


def _is_flat_array(X: Any) -> bool:
    """Return whether scikit-learn's own check for X of shape (n, d) applies, which knows column names."""
    if isinstance(X, SharedFeatures) or is_read_on_demand(X):
        return False
    return (X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim) <= 2
