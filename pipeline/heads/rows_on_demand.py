"""`Rows`: features that a head reads a part at a time, from memory or from disk."""

import math
from collections.abc import Iterator
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from scipy.sparse import issparse

BLOCK = 2**21  # values processed together: 8 MiB as float32


@runtime_checkable
class Rows(Protocol):
    """Features of n images, of which a head reads a part at a time; `FeatureStore.on_demand` returns them.

    An array has this protocol, too. Other objects must hold finite values only, as the rows of a
    store do, and must have no `__array__`, which would load all of them.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, height, width, channels), or (n, d)."""

    @property
    def dtype(self) -> np.dtype:
        """Any float."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return the rows of a slice, or of an ndarray of row numbers in their order; other threads call it, too."""


class ArrayRows:
    """Features in an array or memory map of shape (n, ...), as `Rows`.

    A plain array would be shuffled in another way than rows on disk, and a head would then depend
    on how much memory was free when it was trained.
    """

    def __init__(self, array: np.ndarray):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.asarray(self.array[rows])


def is_read_on_demand(X: Any) -> TypeGuard[Rows]:
    """Return whether X is `Rows`, and neither an array nor something that converts to one."""
    return isinstance(X, Rows) and not hasattr(X, "__array__") and not issparse(X)


def bytes_per_row(X: Rows) -> int:
    """Return the bytes of one row in the dtype of X, at least 1."""
    return max(1, math.prod(X.shape[1:]) * X.dtype.itemsize)


def row_blocks(X: Any) -> Iterator[np.ndarray]:
    """Yield X, of shape (n, ...), in blocks of whole rows with at most `BLOCK` values, or one row."""
    rows = max(1, BLOCK // max(1, math.prod(X.shape[1:])))
    for start in range(0, len(X), rows):
        yield X[start : start + rows]
