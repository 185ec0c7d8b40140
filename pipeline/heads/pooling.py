"""`Pool`: feature maps to one row of values per image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from pipeline.conv_base.joined_conv_base import average_positions
from pipeline.errors import HeadError
from pipeline.heads.rows_on_demand import is_read_on_demand, row_blocks

POOLS = ("avg", "max", "flatten")


class Pool(TransformerMixin, BaseEstimator):
    """Reduce features (n, height, width, channels) to (n, d); flat features stay as they are.

    With `avg` and `max` a row has one value per channel, d = channels; with `flatten` it has all values,
    d = height * width * channels. Saved heads hold this class under its module's name.
    """

    def __init__(self, how: str = "avg"):
        self.how = how

    def fit(self, X: Any, y: Any = None) -> Pool:
        """Check `how`; nothing is learned."""
        if self.how not in POOLS:
            raise HeadError(f"pool {self.how!r} is not one of {', '.join(POOLS)}")
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Pool an array or `Rows` of any float to an ndarray of shape (n, d), float32.

        Features are read in blocks of rows, so that a memory map is never copied as a whole. A flat
        array is returned itself, unless it is float16.
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
        """Return the number of values d that a row of a given shape is pooled to."""
        return math.prod(row_shape) if self.how == "flatten" else row_shape[-1]

    def _reduce(self, block: np.ndarray) -> np.ndarray:
        axes = tuple(range(1, block.ndim - 1))  # height and width
        if self.how == "flatten" or not axes:
            return block.reshape(len(block), -1)
        return average_positions(block) if self.how == "avg" else block.max(axis=axes)

    def __sklearn_is_fitted__(self) -> bool:
        return True
