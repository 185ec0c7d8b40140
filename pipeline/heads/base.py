"""What every head shares: how features and labels are checked, and what they are called."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from pipeline.heads.lazy_rows import is_read_on_demand
from pipeline.heads.shared_features import FLOATS, SharedFeatures


class Head(ClassifierMixin, BaseEstimator):
    """A classifier over features, by scikit-learn's contract.

    Attributes
    ----------
    classes_ : ndarray of shape (k,)
        The labels seen in `fit`, sorted.
    feature_shape_ : tuple of int
        The shape of one row, (4, 4, 512).
    n_features_in_ : int
        The numbers in one row, 8192.
    """

    name: ClassVar[str]  # in pipeline.heads.HEADS or TUNED_HEADS
    is_network: ClassVar[bool] = False  # a Keras model, `model_`; otherwise a scikit-learn pipeline, `pipeline_`

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_") or hasattr(self, "pipeline_")

    def count_parameters(self) -> int:
        """How many numbers predicting needs that were learned from the features."""
        raise NotImplementedError

    def _check_training_set(self, X: Any, y: Any) -> tuple[SharedFeatures, np.ndarray]:
        """Check features and labels, and set what `fit` learns of their shape and classes.

        Raises
        ------
        ValueError
            Rows and labels differ in number, a number is not finite, or y holds a single class.
        """
        if _is_array_of_rows(X):
            X, y = validate_data(self, X, y, dtype=FLOATS)
            features = SharedFeatures(X)
        else:
            features, y = _shared(X), column_or_1d(y, warn=True)
            check_consistent_length(features, y)
            self.n_features_in_ = math.prod(features.shape[1:])
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        self.feature_shape_ = features.shape[1:]
        if len(self.classes_) < 2:
            raise ValueError(f"all {len(y)} labels are of one class, {self.classes_[0]}; a head needs two")
        return features, y

    def _check_rows(self, X: Any) -> SharedFeatures:
        """Check features that are to be labelled: rows like those of `fit`, all finite."""
        check_is_fitted(self)
        return self._check_like_training(X)

    def _check_like_training(self, X: Any) -> SharedFeatures:
        if len(self.feature_shape_) == 1 and _is_array_of_rows(X):
            return SharedFeatures(validate_data(self, X, dtype=FLOATS, reset=False))
        features = _shared(X)
        if features.shape[1:] != self.feature_shape_:
            raise ValueError(f"X has rows of shape {features.shape[1:]}; this head was fitted on {self.feature_shape_}")
        return features


def _shared(X: Any) -> SharedFeatures:
    return X if isinstance(X, SharedFeatures) else SharedFeatures(X)


def _is_array_of_rows(X: Any) -> bool:
    """Whether X is to be checked as scikit-learn checks its own (n, d): names of columns and all."""
    if isinstance(X, SharedFeatures) or is_read_on_demand(X):
        return False
    return (X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim) <= 2
