"""`ShardReader`: the finished shards of a store, each opened and checked once."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pipeline.errors import StoreDamaged
from pipeline.store.file_names import SHARDS, shard_name
from pipeline.store.index import Index
from pipeline.store.manifest import Manifest, ShardEntry
from pipeline.store.shard_file import Shard


class ShardReader:
    """Opens the shards of a store; `entries` are the finished ones, by their first row."""

    def __init__(self, directory: Path, manifest: Manifest, index: Index):
        self.directory, self.manifest, self.index = directory, manifest, index
        self.entries = sorted(manifest.shards, key=lambda entry: entry.start)
        self.opened: dict[int, Shard] = {}  # and checked, by their first row

    def path(self, entry: ShardEntry) -> Path:
        """Return the file of a finished shard."""
        return self.directory / SHARDS / shard_name(entry.start, entry.stop)

    def open(self, entry: ShardEntry) -> Shard:
        """Open a finished shard; when it is opened first, its sha256 is compared with the manifest."""
        if entry.start not in self.opened:
            self.opened[entry.start] = self.open_file(entry.start, entry.stop, sha256=entry.sha256)
        return self.opened[entry.start]

    def open_file(self, start: int, stop: int, *, sha256: str | None) -> Shard:
        """Open the shard of rows `start` to `stop`, whether the manifest lists it or not; see `Shard`."""
        path = self.directory / SHARDS / shard_name(start, stop)
        return Shard(path, self.manifest, start, self.index.contents[start:stop], sha256=sha256)

    def check_finished(self, rows: np.ndarray) -> None:
        """Check that each row, ndarray of shape (n,), int64, is in a finished shard."""
        bounds = np.array([(entry.start, entry.stop) for entry in self.entries], np.int64).reshape(-1)
        lost = np.count_nonzero(np.searchsorted(bounds, rows, side="right") % 2 == 0)
        if lost:
            raise StoreDamaged(f"{self.directory}: {lost} of {len(rows)} rows are in no finished shard")


def open_shards(wanted: Sequence[tuple[ShardReader, ShardEntry]]) -> list[Shard]:
    """Open shards of one or several stores: the first alone, then as many at a time as there are cores."""
    new = [(reader, entry) for reader, entry in wanted if entry.start not in reader.opened]
    if len(new) > 1:
        new[0][0].open(new[0][1])
        pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="check")
        try:
            list(pool.map(lambda pair: pair[0].open(pair[1]), new[1:]))
        finally:
            pool.shutdown(cancel_futures=True)
    return [reader.open(entry) for reader, entry in wanted]
