"""`FeatureRows`: the features of some images, read from the shards when they are asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.store.manifest import ShardEntry
from pipeline.store.shard_reader import ShardReader, open_shards


class FeatureRows:
    """Rows of one or several stores that need not fit into memory: `rows[10:20]` reads ten of them.

    Shards are memory-mapped, and the sha256 of each is checked when a row of it is first read.
    `parts` are the rows of each store, ndarray of shape (n,), int64; all stores have the same shape of
    rows and the same dtype. The array has the shape (all n, *feature_shape) and the dtype of the stores.
    """

    def __init__(self, parts: Sequence[tuple[ShardReader, np.ndarray]]):
        offset, numbered = 0, []  # the rows of a store are numbered on from those of the store before it
        starts: list[int] = []
        self._shards: list[tuple[ShardReader, ShardEntry]] = []
        for reader, rows in parts:
            reader.check_finished(rows)
            numbered.append(rows + offset)
            starts += [entry.start + offset for entry in reader.entries]
            self._shards += [(reader, entry) for entry in reader.entries]
            offset += len(reader.index.contents)
        self._rows, self._starts = np.concatenate(numbered), np.array(starts, np.int64)
        manifest = parts[0][0].manifest
        self.shape, self.dtype = (len(self._rows), *manifest.feature_shape), manifest.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read the rows of a slice or of an ndarray of indices, ndarray of shape (k, *feature_shape)."""
        return self.read(key)

    def read(self, key: Any = slice(None), *, dtype: str | np.dtype | None = None) -> np.ndarray:
        """Read the rows of a slice or of an ndarray of indices as `dtype`, by default as they are stored.

        Shards are read one after the other and each from its start, in whatever order rows are asked for.
        """
        rows = self._rows[key]
        order = np.argsort(rows, kind="stable")
        numbers = np.searchsorted(self._starts, rows[order], side="right") - 1
        parts = np.split(order, np.flatnonzero(np.diff(numbers)) + 1) if len(rows) else []
        numbers = np.unique(numbers)
        # A manifest may declare any shape: memory is taken only after the shards were found to have it.
        shards = open_shards([self._shards[number] for number in numbers.tolist()])
        features = np.empty((len(rows), *self.shape[1:]), dtype or self.dtype)
        for number, shard, part in zip(numbers.tolist(), shards, parts, strict=True):
            features[part] = shard.read(rows[part] - self._starts[number])
        return features
