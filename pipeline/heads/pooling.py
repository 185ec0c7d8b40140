"""`Pool`: from a map of features to one row of numbers an image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from pipeline.errors import HeadError
from pipeline.heads.lazy_rows import is_read_on_demand, row_blocks

POOLS = ("avg", "max", "flatten")


class Pool(TransformerMixin, BaseEstimator):
    """Reduce features (n, height, width, channels) to (n, d).

    Features that are flat already pass through.

    Parameters
    ----------
    how : {"avg", "max", "flatten"}
        `avg` and `max` keep one number a channel, d = channels; `flatten` keeps all numbers,
        d = height * width * channels. Features are read a block of rows at a time, so that a
        float16 memory map is never copied as a whole.
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
        X : ndarray or `Rows` of shape (n, ..., channels) or (n, d), any float

        Returns
        -------
        ndarray of shape (n, d), float32
            Of a flat array: the array itself, as float32 where it was float16.
        """
        if not is_read_on_demand(X):
            X = np.asanyarray(X)
            if X.ndim <= 2:
                return X.astype(np.float32) if X.dtype == np.float16 else X
        pooled = np.empty((len(X), self.width(X.shape[1:])), dtype=np.float32)
        start = 0
        for block in row_blocks(X):
            pooled[start : start + len(block)] = self._reduce(block)
            start += len(block)
        return pooled

    def width(self, row_shape: tuple[int, ...]) -> int:
        """The numbers that are left of a row, d."""
        return math.prod(row_shape) if self.how == "flatten" else row_shape[-1]

    def _reduce(self, block: np.ndarray) -> np.ndarray:
        places = tuple(range(1, block.ndim - 1))
        if self.how == "flatten" or not places:
            return block.reshape(len(block), -1)
        return block.mean(axis=places, dtype=np.float32) if self.how == "avg" else block.max(axis=places)

    def __sklearn_is_fitted__(self) -> bool:
        return True
