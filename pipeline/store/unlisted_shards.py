"""Check the shards that a killed writer, or processes without the lock, left and that no manifest lists."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import StoreDamaged
from pipeline.files.cores import available_cores
from pipeline.files.durable import sha256_of
from pipeline.images.status import Status
from pipeline.store.feature_store import FeatureStore
from pipeline.store.file_names import SHARDS, shard_name
from pipeline.store.manifest import BadRow, ShardEntry
from pipeline.store.shard_file import Shard
from pipeline.store.staged_shard import list_staged, read_maker


class UnlistedShard(NamedTuple):
    """A file below `shards/` that no manifest lists."""

    path: Path
    entry: ShardEntry | None  # None if it is not exactly what the index says
    is_staged: bool  # whether a process without the lock wrote it
    made_with: dict[str, Any] | None  # None if it is not known


def check_unlisted(
    store: FeatureStore, listed: Collection[int], on_check: Callable[[int, int], None]
) -> Iterator[UnlistedShard]:
    """Check every row of the shards that are not listed, on all cores, those with their final names first.

    `listed` are the first rows of the listed shards; staged shards are checked in any case, as the file of a listed
    shard may be missing. `on_check(done, total)` is called after each.
    """
    ranges = {shard_name(start, stop): (start, stop) for start, stop in store.index.ranges.tolist()}
    named = sorted((store.directory / SHARDS).glob("*.h5"))
    unlisted = [path for path in named if path.name not in ranges or ranges[path.name][0] not in listed]
    staged = list(list_staged(store.directory))
    names = [path.name for path in unlisted] + [shard_name(shard.start, shard.stop) for shard in staged]
    files = [*unlisted, *(shard.path for shard in staged)]
    pool = ThreadPoolExecutor(available_cores(), thread_name_prefix="check")
    try:
        entries = pool.map(lambda path, name: _read_entry(store, path, ranges.get(name)), files, names)
        for i, (path, entry) in enumerate(zip(files, entries, strict=True)):
            made_with = read_maker(staged[i - len(unlisted)]) if i >= len(unlisted) else None
            yield UnlistedShard(path, entry, i >= len(unlisted), made_with)
            on_check(i + 1, len(files))
    finally:
        pool.shutdown(cancel_futures=True)


def _read_entry(store: FeatureStore, path: Path, rows: tuple[int, int] | None) -> ShardEntry | None:
    if rows is None:
        return None
    start, stop = rows
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
