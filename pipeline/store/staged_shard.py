"""Shards that other processes compute: each has a name of its own until the writer of the store takes it over.

A process without the store's lock writes `shards/.done-NUMERICS-START-STOP.h5-TOKEN` and returns a `Receipt`. The
holder of the lock checks the file and gives it its final name, see `StoreWriter.accept`. So a process that was given up
for dead and wakes later can replace nothing. NUMERICS tells how the process rounds, see `Manifest.numerics`.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.files.durable import sha256_of, sync_directory, write_new_file
from pipeline.images.status import UNREAD
from pipeline.store.feature_store import FeatureStore
from pipeline.store.file_names import SHARDS, shard_name
from pipeline.store.manifest import BadRow, ShardEntry
from pipeline.store.shard_file import Shard, ShardContent, ShardDamaged, build_shard
from pipeline.store.store_layout import StoreLayout

STAGED = re.compile(r"\.done-([0-9a-f]{12})-(\d{10})-(\d{10})\.h5-[0-9a-f]{8}")
NO_NUMERICS = "0" * 12


@dataclass(frozen=True)
class Receipt:
    """What a process tells of a shard that it has written."""

    name: str  # of the file below `shards/`
    entry: ShardEntry  # without its maker
    made_with: Mapping[str, Any]  # library versions and machine; `numerics` where they are not those of the store


def stage_shard(
    layout: StoreLayout, content: ShardContent, bad: tuple[BadRow, ...], made_with: Mapping[str, Any], numerics: str
) -> Receipt:
    """Write a shard durably under a name of its own; nobody but this process must hold the lock for this."""
    data = build_shard(content, layout.fingerprint, layout.manifest.compression)
    digest = numerics[:12] or NO_NUMERICS
    name = f".done-{digest}-{shard_name(content.start, content.stop)}-{secrets.token_hex(4)}"
    write_new_file(layout.directory / SHARDS / name, data)
    sync_directory(layout.directory / SHARDS)
    return Receipt(name, ShardEntry(content.start, content.stop, len(data), sha256_of(data), bad), made_with)


class StagedShard(NamedTuple):
    """A file below `shards/` whose name says that it holds rows `start` to `stop`."""

    path: Path
    numerics: str  # the first 12 digits
    start: int
    stop: int


def list_staged(directory: Path) -> Iterator[StagedShard]:
    """List the staged shards of a store; files of another form have the rows 0 to 0."""
    for path in sorted((directory / SHARDS).glob(".done-*")):
        match = STAGED.fullmatch(path.name)
        yield StagedShard(path, match[1], int(match[2]), int(match[3])) if match else StagedShard(path, "", 0, 0)


def has_unread_rows(entry: ShardEntry) -> bool:
    """Return whether an image of a shard could not be read; another process may be able to."""
    return any(bad.status in UNREAD for bad in entry.bad)


def find_problem(store: FeatureStore, path: Path, entry: ShardEntry) -> str | None:
    """Return what is wrong with a shard whose bytes a receipt describes, None if it is what the index says.

    Its features are not read: whoever reads them compares the sha256 of the receipt first.
    """
    try:
        if (size := path.stat().st_size) != entry.bytes:
            return f"has {size} bytes, not {entry.bytes}"
        Shard(path, store.manifest, entry.start, store.index.contents[entry.start : entry.stop], sha256=None)
    except ShardDamaged as error:
        return error.problem
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
