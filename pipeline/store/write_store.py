"""`StoreWriter`: the only hand that changes a store; held under its lock."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StoreDamaged, StoreError
from pipeline.files.durable import make_directory, remove_temporaries, sha256_of, sync_directory, write_durably
from pipeline.files.lock import HOLDER, LOCK, lock_directory
from pipeline.images.status import Status
from pipeline.store.feature_store import FeatureStore
from pipeline.store.index import Index
from pipeline.store.layout import MANIFEST, QUARANTINE, SHARDS, belongs_to_store, index_name, shard_name
from pipeline.store.manifest import BadRow, Manifest, ShardEntry
from pipeline.store.open_store import open_features
from pipeline.store.shard_file import ShardContent, build_shard

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def open_for_writing(directory: Path, *, rebuild: bool = False) -> Iterator[StoreWriter]:
    """Lock a store, clear away what a killed writer left, and hand out its writer.

    With `rebuild` the writer knows of no store, and deletes manifest, index and shards, whatever
    state they are in, when a new plan is put in place; heads stay and are refused by their
    fingerprint.

    A directory that was made for it is removed when an error comes before anything is written.

    Raises
    ------
    StoreBusy, StoreError
        Another process writes to it; it cannot be written to; the directory holds something else.
    """
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    with lock_directory(directory), _removed_if_unused(made):
        foreign = sorted(path.name for path in directory.iterdir() if not belongs_to_store(path.name))
        if foreign and not (directory / MANIFEST).exists():
            raise StoreError(
                f"{directory} holds {foreign[0]} and no store; give a directory that is empty or does not exist"
            )
        for folder in (directory, directory / SHARDS):
            remove_temporaries(folder)
        yield StoreWriter(directory, rebuild=rebuild)


@contextlib.contextmanager
def _removed_if_unused(made: Sequence[Path]) -> Iterator[None]:
    """After an error remove directories that were made, innermost first, if they hold nothing but the lock."""
    try:
        yield
    except BaseException:
        if made and {path.name for path in made[0].iterdir()} <= {LOCK, HOLDER}:
            with contextlib.suppress(OSError):  # another process has put something there
                for name in (HOLDER, LOCK):
                    (made[0] / name).unlink(missing_ok=True)
                for path in made:
                    path.rmdir()
        raise


def _clear(directory: Path) -> None:
    (directory / MANIFEST).unlink(missing_ok=True)
    sync_directory(directory)
    for path in [*directory.glob("index-*.h5"), *(directory / SHARDS).glob("*.h5")]:
        path.unlink()


class StoreWriter:
    """Writes a store; made by `open_for_writing`."""

    def __init__(self, directory: Path, *, rebuild: bool = False):
        self.directory = directory
        self.rebuild = rebuild
        self.store: FeatureStore | None = None
        if (directory / MANIFEST).exists() and not rebuild:
            self.store = open_features(directory)

    @property
    def current(self) -> FeatureStore:
        """The store as it is after the last write."""
        if self.store is None:
            raise StoreError(f"{self.directory}: nothing can be written before a plan is")
        return self.store

    def begin(self, manifest: Manifest, index: Index) -> None:
        """Put a new plan in place: first the index, then the manifest that names it."""
        if self.rebuild:
            _clear(self.directory)
            self.rebuild = False
        data = index.to_bytes()
        sha256 = sha256_of(data)
        manifest = replace(manifest, index=index_name(sha256), index_sha256=sha256)
        make_directory(self.directory / SHARDS)
        if self.store is None or self.store.manifest.index_sha256 != sha256:
            write_durably(self.directory / manifest.index, data)
        manifest.write(self.directory)
        for old in self.directory.glob("index-*.h5"):
            if old.name != manifest.index:
                old.unlink()
        self.store = FeatureStore(self.directory, manifest, index)

    def adopt(self) -> int:
        """List finished shards that a killed writer wrote but had no time to list; returns how many.

        A shard that is not exactly what the plan says is deleted.
        """
        store = self.current
        listed = {entry.start for entry in store.manifest.shards}
        adopted = 0
        wanted = {shard_name(start, stop): (start, stop) for start, stop in store.index.ranges.tolist()}
        for path in sorted((self.directory / SHARDS).glob("*.h5")):
            start, stop = wanted.get(path.name, (None, None))
            if start in listed:
                continue
            if start is None or not self._adopt_one(path, start, stop):
                logger.info("%s is not part of the store; deleted", path)
                path.unlink()
            else:
                adopted += 1
        return adopted

    def _adopt_one(self, path: Path, start: int, stop: int) -> bool:
        try:
            data = path.read_bytes()
            shard = self.current.shards.open_file(start, stop, sha256=None)
            shard.check_rows()
        except (StoreDamaged, OSError):
            return False
        bad = tuple(
            BadRow(start + int(row), int(shard.status[row]), Status(shard.status[row]).words)
            for row in np.flatnonzero(shard.status != Status.OK)
        )
        self._list(ShardEntry(start, stop, len(data), sha256_of(data), bad, self._maker))
        return True

    def set_maker(self, made_with: Mapping[str, Any]) -> None:
        """Record the library versions and the machine that make the next shards."""
        manifest = self.current.manifest
        if manifest.makers[-1] != made_with:
            manifest = replace(manifest, later_makers=(*manifest.later_makers, made_with))
            manifest.write(self.directory)
            self.store = FeatureStore(self.directory, manifest, self.current.index)

    @property
    def _maker(self) -> int:
        return len(self.current.manifest.later_makers)

    def put_shard(self, content: ShardContent, bad: tuple[BadRow, ...]) -> None:
        """Write a shard durably and list it; when this returns, a power cut cannot undo it."""
        store = self.current
        data = build_shard(content, store.fingerprint, store.manifest.compression)
        make_directory(self.directory / SHARDS)  # which may be what was lost
        write_durably(self.directory / SHARDS / shard_name(content.start, content.stop), data)
        self._list(ShardEntry(content.start, content.stop, len(data), sha256_of(data), bad, self._maker))

    def _list(self, entry: ShardEntry) -> None:
        store = self.current
        manifest = store.manifest.with_shard(entry)
        manifest.write(self.directory)
        self.store = FeatureStore(self.directory, manifest, store.index)

    def quarantine(self, entries: Sequence[ShardEntry]) -> list[Path]:
        """Move files of shards aside; they stay listed, as missing, until `put_shard` replaces them.

        Returns
        -------
        list of Path
            Where the files are now; one that was missing has none.
        """
        folder = self.directory / QUARANTINE
        moved = []
        for path in filter(os.path.lexists, map(self.current.shards.path, entries)):
            make_directory(folder)
            moved.append(_free_name(folder / path.name))
            os.replace(path, moved[-1])
        for changed in [folder, self.directory / SHARDS] if moved else []:
            sync_directory(changed)
        return moved


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return next(name for name in chain([path], names) if not os.path.lexists(name))
