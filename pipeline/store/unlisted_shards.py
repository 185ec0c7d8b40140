"""Check the shards that a killed writer, or processes without the lock, left and that no manifest lists."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import StoreDamaged
from pipeline.files.cores import available_cores
from pipeline.files.durable import sha256_of
from pipeline.images.status import Status
from pipeline.store.feature_store import FeatureStore
from pipeline.store.file_names import SHARDS, shard_name
from pipeline.store.manifest import BadRow, ShardEntry
from pipeline.store.shard_file import Shard
from pipeline.store.staged_shard import list_staged


class UnlistedShard(NamedTuple):
    """A file below `shards/` that no manifest lists."""

    path: Path
    entry: ShardEntry | None  # None if it is not exactly what the index says; its maker is not known
    numerics: str  # the first digits of those of the process that staged it; empty if it has its final name


def check_unlisted(
    store: FeatureStore, listed: Collection[int], on_check: Callable[[int, int], None]
) -> Iterator[UnlistedShard]:
    """Check every row of the shards that are not listed, on all cores, those with their final names first.

    `listed` are the first rows of the listed shards; staged shards are checked in any case, as the file of a listed
    shard may be missing. `on_check(done, total)` is called after each.
    """
    ranges = {shard_name(start, stop): (start, stop) for start, stop in store.index.ranges.tolist()}
    files = [(path, ranges.get(path.name), "") for path in sorted((store.directory / SHARDS).glob("*.h5"))]
    files = [file for file in files if file[1] is None or file[1][0] not in listed]
    for path, numerics, start, stop in list_staged(store.directory):
        files.append((path, ranges.get(shard_name(start, stop)), numerics))
    pool = ThreadPoolExecutor(available_cores(), thread_name_prefix="check")
    try:
        for i, entry in enumerate(pool.map(lambda file: file[1] and _read_entry(store, file[0], *file[1]), files)):
            yield UnlistedShard(files[i][0], entry, files[i][2])
            on_check(i + 1, len(files))
    finally:
        pool.shutdown(cancel_futures=True)


def _read_entry(store: FeatureStore, path: Path, start: int, stop: int) -> ShardEntry | None:
    try:
        data = path.read_bytes()
        shard = Shard(path, store.manifest, start, store.index.contents[start:stop], sha256=None)
        shard.check_rows()
    except (StoreDamaged, OSError):
        return None
    bad = tuple(
        BadRow(start + int(row), int(shard.status[row]), Status(shard.status[row]).words)
        for row in np.flatnonzero(shard.status != Status.OK)
    )
    return ShardEntry(start, stop, len(data), sha256_of(data), bad)
