"""`Pool`: from a map of features to one row of numbers an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from pipeline.errors import HeadError
from pipeline.heads.base import row_blocks

POOLS = ("avg", "max", "flatten")


class Pool(TransformerMixin, BaseEstimator):
    """Reduce features (n, height, width, channels) to (n, d).

    Features that are flat already pass through.

    Parameters
    ----------
    how : {"avg", "max", "flatten"}
        `avg` and `max` keep one number a channel, d = channels, and take a block of rows at a time,
        so that a float16 memory map is never copied as a whole; `flatten` keeps all numbers,
        d = height * width * channels, in one float32 array.
    """

    def __init__(self, how: str = "avg"):
        self.how = how

    def fit(self, X: Any, y: Any = None) -> Pool:
        """Check `how`; nothing is learned.

        Raises
        ------
        HeadError
            There is no such way of pooling.
        """
        if self.how not in POOLS:
            raise HeadError(f"pool {self.how!r} is not one of {', '.join(POOLS)}")
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Pool features.

        Parameters
        ----------
        X : ndarray of shape (n, ..., channels) or (n, d), any float

        Returns
        -------
        ndarray of shape (n, d), float32
            Of flat X: X itself, as float32 where it was float16.
        """
        X = np.asanyarray(X)
        if X.ndim <= 2:
            return X.astype(np.float32) if X.dtype == np.float16 else X
        if self.how == "flatten":
            return X.reshape(len(X), -1).astype(np.float32)
        places = tuple(range(1, X.ndim - 1))
        pooled = np.empty((len(X), X.shape[-1]), dtype=np.float32)
        start = 0
        for block in row_blocks(X):
            reduced = block.mean(axis=places, dtype=np.float32) if self.how == "avg" else block.max(axis=places)
            pooled[start : start + len(block)] = reduced
            start += len(block)
        return pooled

    def __sklearn_is_fitted__(self) -> bool:
        return True
