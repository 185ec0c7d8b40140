"""What every head shares: how features and labels are checked, and what they are called."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y, validate_data

FLOATS = (np.float64, np.float32, np.float16)
BLOCK = 2**21  # numbers looked at together: 8 MiB as float32


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

    name: ClassVar[str]  # in pipeline.heads.HEADS

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_") or hasattr(self, "pipeline_")

    def count_parameters(self) -> int:
        """How many numbers predicting needs that were learned from the features."""
        raise NotImplementedError

    def _check_training_set(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Check features and labels, and set what `fit` learns of their shape and classes.

        Raises
        ------
        ValueError
            Rows and labels differ in number, a number is not finite, or y holds a single class.
        """
        if _dimensions(X) > 2:
            X, y = check_X_y(X, y, dtype=FLOATS, allow_nd=True, ensure_all_finite=False, estimator=self)
            _check_finite(X)
            self.n_features_in_ = math.prod(X.shape[1:])
        else:
            X, y = validate_data(self, X, y, dtype=FLOATS)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        self.feature_shape_ = X.shape[1:]
        if len(self.classes_) < 2:
            raise ValueError(f"all {len(y)} labels are of one class, {self.classes_[0]}; a head needs two")
        return X, y

    def _check_rows(self, X: Any) -> np.ndarray:
        """Check features that are to be labelled: rows like those of `fit`, all finite."""
        check_is_fitted(self)
        return self._check_like_training(X)

    def _check_like_training(self, X: Any) -> np.ndarray:
        if len(self.feature_shape_) == 1 and _dimensions(X) == 2:
            return validate_data(self, X, dtype=FLOATS, reset=False)
        X = check_array(X, dtype=FLOATS, allow_nd=True, ensure_all_finite=False, estimator=self)
        if X.shape[1:] != self.feature_shape_:
            raise ValueError(f"X has rows of shape {X.shape[1:]}; this head was fitted on {self.feature_shape_}")
        _check_finite(X)
        return X


def row_blocks(X: np.ndarray) -> Iterator[np.ndarray]:
    """X (n, ...) in runs of whole rows, each small enough to be copied without a thought."""
    rows = max(1, BLOCK // max(1, math.prod(X.shape[1:])))
    for start in range(0, len(X), rows):
        yield X[start : start + rows]


def _dimensions(X: Any) -> int:
    return X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim


def _check_finite(X: np.ndarray) -> None:
    # In blocks: scikit-learn's own check makes a mask as large as half of a float16 array.
    if not all(np.isfinite(block).all() for block in row_blocks(X)):
        raise ValueError("X contains NaN or infinity")
