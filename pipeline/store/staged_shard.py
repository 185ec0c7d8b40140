"""Shards that other processes compute: each has a name of its own until the writer of the store takes it over.

A process without the store's lock writes `shards/.done-MAKER-START-STOP.h5-TOKEN` and returns a `Receipt`. The
holder of the lock checks the file and gives it its final name, see `StoreWriter.accept`. So a process that was given
up for dead and wakes later can replace nothing. `.maker-MAKER.json` tells what made the shard, for a writer that
has no receipt because the run that was to get it has ended.
"""

import contextlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.files.durable import canonical_json, sha256_of, sync_directory, write_new_file
from pipeline.images.status import UNREAD
from pipeline.store.feature_store import FeatureStore
from pipeline.store.file_names import SHARDS, shard_name
from pipeline.store.manifest import BadRow, ShardEntry
from pipeline.store.shard_file import Shard, ShardContent, ShardDamaged, build_shard
from pipeline.store.store_layout import StoreLayout

MAKER = ".maker-"
STAGED = re.compile(r"\.done-([0-9a-f]{12})-(\d{10})-(\d{10})\.h5-[0-9a-f]{8}")


@dataclass(frozen=True)
class Receipt:
    """What a process tells of a shard that it has written."""

    name: str  # of the file below `shards/`
    entry: ShardEntry  # without its maker
    made_with: Mapping[str, Any]  # library versions and machine; `numerics` where they are not those of the store
    seconds: float = 0.0  # that the shard took


def stage_shard(
    layout: StoreLayout, content: ShardContent, bad: tuple[BadRow, ...], made_with: Mapping[str, Any]
) -> Receipt:
    """Write a shard durably under a name of its own; this needs no lock."""
    data = build_shard(content, layout.fingerprint, layout.manifest.compression)
    maker_data, folder = canonical_json(made_with).encode(), layout.directory / SHARDS
    maker = sha256_of(maker_data)[:12]
    name = f".done-{maker}-{shard_name(content.start, content.stop)}-{secrets.token_hex(4)}"
    with contextlib.suppress(FileExistsError):
        write_new_file(_maker_path(layout.directory, maker), maker_data)
    write_new_file(folder / name, data)
    sync_directory(folder)
    return Receipt(name, ShardEntry(content.start, content.stop, len(data), sha256_of(data), bad), made_with)


class StagedShard(NamedTuple):
    """A file below `shards/` whose name says that it holds rows `start` to `stop`."""

    path: Path
    maker: str  # the first 12 digits of the sha256 of what made it
    start: int
    stop: int


def list_staged(directory: Path) -> Iterator[StagedShard]:
    """List the staged shards of a store; files of another form have the rows 0 to 0."""
    for path in sorted((directory / SHARDS).glob(".done-*")):
        match = STAGED.fullmatch(path.name)
        yield StagedShard(path, match[1], int(match[2]), int(match[3])) if match else StagedShard(path, "", 0, 0)


def read_maker(staged: StagedShard) -> dict[str, Any] | None:
    """Return the library versions and the machine that made a staged shard; None if they are not known."""
    try:
        data = _maker_path(staged.path.parent.parent, staged.maker).read_bytes()
    except OSError:
        return None
    return json.loads(data) if sha256_of(data).startswith(staged.maker) else None


def remove_makers(directory: Path) -> None:
    """Delete what `read_maker` reads; a process that stages another shard writes it again."""
    for path in directory.glob(f"{MAKER}*"):
        path.unlink(missing_ok=True)


def _maker_path(directory: Path, maker: str) -> Path:
    return directory / f"{MAKER}{maker}.json"


def has_unread_rows(entry: ShardEntry) -> bool:
    """Return whether an image of a shard could not be read; another process may be able to."""
    return any(bad.status in UNREAD for bad in entry.bad)


def find_problem(store: FeatureStore, path: Path, start: int, stop: int, size: int | None = None) -> str | None:
    """Return what is wrong with a shard, None if it is what the index says and has the `size` that a receipt tells.

    Its features are not read: whoever reads them compares the sha256 of the receipt first.
    """
    try:
        if size is not None and path.stat().st_size != size:
            return f"has {path.stat().st_size} bytes, not {size}"
        Shard(path, store.manifest, start, store.index.contents[start:stop], sha256=None)
    except ShardDamaged as error:
        return error.problem
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
