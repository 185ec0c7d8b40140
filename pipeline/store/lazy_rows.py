"""The features of some images, read from the shards when they are asked for: `FeatureRows`, `StackedRows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import StoreDamaged

if TYPE_CHECKING:
    from pipeline.store.reading import FeatureStore


class FeatureRows:
    """Rows of a store that need not fit into memory: `rows[some]` reads some of them.

    Shards are memory-mapped, and each is checked by its sha256 when a row of it is first read.

    Parameters
    ----------
    store : FeatureStore
    rows : ndarray of shape (n,), int
        Rows of the shards.

    Attributes
    ----------
    shape : tuple of int
        (n, *feature_shape).
    dtype : dtype
        As stored.

    Raises
    ------
    StoreDamaged
        A row is in no finished shard.
    """

    def __init__(self, store: FeatureStore, rows: np.ndarray):
        self.store, self.rows = store, rows
        self.shape, self.dtype = (len(rows), *store.feature_shape), store.dtype
        self._shards = sorted(store.manifest.shards, key=lambda entry: entry.start)
        self._shard_of = np.searchsorted([entry.start for entry in self._shards], rows, side="right") - 1
        stops = np.array([*(entry.stop for entry in self._shards), 0])  # the 0 is that of shard -1: before the first
        if lost := np.count_nonzero(rows >= stops[self._shard_of]):
            raise StoreDamaged(f"{store.directory}: {lost} of {len(rows)} rows are in no finished shard")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: Any) -> np.ndarray:
        """The features of a slice, or of an ndarray of numbers, ndarray of shape (k, *feature_shape).

        Shards are read one after the other, and each from its start, whatever the order asked for.

        Raises
        ------
        StoreDamaged
            A shard is not what was written.
        """
        rows, shards = self.rows[some], self._shard_of[some]
        opened = self.store.shards([self._shards[shard] for shard in np.unique(shards).tolist()])  # before memory is
        features = np.empty((len(rows), *self.shape[1:]), self.dtype)  # taken: a manifest may declare any shape
        order = np.argsort(rows, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(shards[order])) + 1) if len(rows) else []
        for shard, places in zip(opened, parts, strict=True):
            features[places] = shard.read(rows[places] - self._shards[shards[places[0]]].start)
        return features


class StackedRows:
    """Several `FeatureRows`, one after the other, read on demand like each of them.

    Parameters
    ----------
    parts : sequence of FeatureRows
        Of one shape of rows and one dtype.

    Attributes
    ----------
    shape, dtype
        As of `FeatureRows`.
    """

    def __init__(self, parts: Sequence[FeatureRows]):
        self.parts = list(parts)
        self._starts = np.cumsum([0, *(len(part) for part in self.parts)])
        self.shape, self.dtype = (int(self._starts[-1]), *self.parts[0].shape[1:]), self.parts[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, some: Any) -> np.ndarray:
        """The features of a slice, or of an ndarray of numbers, ndarray of shape (k, *feature_shape).

        Raises
        ------
        StoreDamaged
            A shard is not what was written.
        """
        rows = np.arange(*some.indices(len(self))) if isinstance(some, slice) else np.asarray(some)
        part_of = np.searchsorted(self._starts, rows, side="right") - 1
        features = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for number in np.unique(part_of).tolist():
            places = np.flatnonzero(part_of == number)
            features[places] = self.parts[number][rows[places] - self._starts[number]]
        return features
