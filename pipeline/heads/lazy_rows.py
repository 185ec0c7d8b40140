"""Rows of features as heads read them: an array, or rows that are read from disk when asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from scipy.sparse import issparse

BLOCK = 2**21  # numbers looked at together: 8 MiB as float32


@runtime_checkable
class Rows(Protocol):
    """Features of n images, of which a head reads a part at a time: those of
    `FeatureStore.on_demand`, say.

    An array is one too. What is read from elsewhere is taken to be finite, as a store's rows are,
    and has no `__array__`, which would load all of it.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, height, width, channels), or (n, d)."""

    @property
    def dtype(self) -> np.dtype:
        """Any float."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The rows of a slice, or of an ndarray of row numbers in their order; called from other threads too."""


class Kept:
    """Features in an array, memory-mapped or not, as `Rows`.

    An array of its own would be shuffled in another way than a file is read, and so what a head
    learns would depend on how much memory was free.

    Parameters
    ----------
    array : ndarray of shape (n, ...)
    """

    def __init__(self, array: np.ndarray):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The rows of a slice, or of an ndarray of row numbers in their order."""
        return np.asarray(self.array[rows])


def is_read_on_demand(X: Any) -> TypeGuard[Rows]:
    """Whether X is `Rows` and not an array or something that becomes one."""
    return isinstance(X, Rows) and not hasattr(X, "__array__") and not issparse(X)


def bytes_per_row(X: Rows) -> int:
    """Bytes of one row as X holds it, 1 at least."""
    return max(1, math.prod(X.shape[1:]) * X.dtype.itemsize)


def row_blocks(X: Any) -> Iterator[np.ndarray]:
    """X (n, ...) in runs of whole rows, each small enough to be copied without a thought."""
    rows = max(1, BLOCK // max(1, math.prod(X.shape[1:])))
    for start in range(0, len(X), rows):
        yield X[start : start + rows]
