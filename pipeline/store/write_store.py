"""`StoreWriter`: writes a store, under the store's lock."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from pipeline.errors import StoreError
from pipeline.files.durable import (
    make_directory,
    remove_temporaries,
    sha256_of,
    sync_directory,
    sync_file,
    write_durably,
)
from pipeline.files.lock import HOLDER, LOCK, WriterLock, lock_directory
from pipeline.store.feature_store import FeatureStore
from pipeline.store.file_names import INT8_MODEL, MANIFEST, NAMES, PROBE, QUARANTINE, SHARDS, index_name, shard_name
from pipeline.store.index import Index
from pipeline.store.manifest import BadRow, Manifest, ShardEntry
from pipeline.store.open_store import open_features
from pipeline.store.shard_file import ShardContent, build_shard
from pipeline.store.staged_shard import Receipt, find_problem, has_unread_rows, list_staged, remove_makers
from pipeline.store.unlisted_shards import check_unlisted

logger = logging.getLogger(__name__)
MIN_SECONDS = 1.0  # between two writes of the manifest
MAX_SHARE = 0.02  # fraction of the time of a run that is spent on writing the manifest


@contextlib.contextmanager
def open_for_writing(
    directory: Path, *, rebuild: bool = False, on_check: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[StoreWriter]:
    """Lock a store, remove what a killed writer left, and yield the store's writer.

    When the block ends, also by an error, the manifest lists every shard that was written. After an error before
    anything was written, neither a new directory nor a lock file is left. With `rebuild`, the present manifest, index
    and shards, in whatever state, are deleted when a new plan begins. Heads stay; their fingerprint differs.
    `on_check(done, total)` is called while shards are checked that other processes have left.
    """
    _check_is_store_or_empty(directory)
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    with lock_directory(directory) as lock, _removed_if_unused(directory, missing, lock):
        for folder in (directory, directory / SHARDS):
            remove_temporaries(folder)
        if (directory / SHARDS).is_dir():
            sync_directory(directory / SHARDS)  # a killed writer may have renamed a shard and not synced this
        writer = StoreWriter(directory, lock, on_check, rebuild=rebuild)
        try:
            yield writer
        except BaseException:
            with contextlib.suppress(OSError, StoreError):  # the next writer lists the shards
                writer.commit()
            raise
        if writer.store is not None:
            writer.commit()


def _check_is_store_or_empty(directory: Path) -> None:
    """Check, before a lock file is made, that a directory is a store or holds nothing that is not a store's."""
    if directory.is_dir() and not (directory / MANIFEST).exists():
        names = {path.name for path in directory.iterdir()} - NAMES
        if foreign := sorted(name for name in names if not name.startswith((".", "index-"))):
            raise StoreError(
                f"{directory} holds {foreign[0]} and no store; give a directory that is empty or does not exist"
            )


@contextlib.contextmanager
def _removed_if_unused(directory: Path, made: Sequence[Path], lock: WriterLock) -> Iterator[None]:
    """After an error remove the lock, if the directory holds nothing else, and the directories that were made."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # another process has put something into one of them
            if {path.name for path in directory.iterdir()} <= {LOCK, HOLDER} and lock.is_held():
                for name in (HOLDER, LOCK):
                    (directory / name).unlink(missing_ok=True)
                for path in made:  # the innermost is the first
                    path.rmdir()
        raise


class StoreWriter:
    """Writes the shards and the manifest of a store; made by `open_for_writing`.

    A shard is on disk when `put_shard` returns. The manifest grows with the number of shards, so it is written at most
    every `MIN_SECONDS` and for no more than `MAX_SHARE` of the time. Readers see the shards that it lists; the next
    writer lists those that a killed one could not. `store` is what the manifest on disk describes, if there is one.
    """

    def __init__(
        self, directory: Path, lock: WriterLock, on_check: Callable[[int, int], None], *, rebuild: bool = False
    ):
        self.directory, self.lock, self.rebuild, self._on_check = directory, lock, rebuild, on_check
        self.store: FeatureStore | None = None
        self._entries: dict[int, ShardEntry] = {}  # all finished shards by first row, listed or not
        self._maker = 0  # of the next shards
        self._is_committed = True
        self._next_commit = monotonic() + MIN_SECONDS
        if (directory / MANIFEST).exists() and not rebuild:
            self._set_store(open_features(directory))
            self.adopt()

    @property
    def current(self) -> FeatureStore:
        """The store as the manifest on disk describes it."""
        if self.store is None:
            raise StoreError(f"{self.directory}: nothing can be written before a plan is")
        return self.store

    def _set_store(self, store: FeatureStore) -> None:
        self.store = store
        rounds_alike = ["numerics" not in maker for maker in store.manifest.makers]
        self._maker = max(np.flatnonzero(rounds_alike).tolist(), default=0)  # the last one
        self._entries = {entry.start: entry for entry in store.manifest.shards}

    def begin(
        self, manifest: Manifest, index: Index, *, int8_model: bytes | None = None, probe: bytes | None = None
    ) -> None:
        """Put a new plan in place: first the index and a new conv base and probe, then the manifest that names them."""
        self.lock.check()
        if self.rebuild:  # without a manifest it is no store any more, then indices and shards can go
            (self.directory / MANIFEST).unlink(missing_ok=True)
            sync_directory(self.directory)
            shards = self.directory / SHARDS
            for path in [*self.directory.glob("index-*.h5"), *shards.glob("*.h5"), *shards.glob(".done-*")]:
                path.unlink()
            self.rebuild = False
        data = index.to_bytes()
        sha256 = sha256_of(data)
        manifest = replace(manifest, index=index_name(sha256), index_sha256=sha256)
        make_directory(self.directory / SHARDS)
        if int8_model is not None:
            write_durably(self.directory / INT8_MODEL, int8_model)
        elif self.store is None:  # it is of an older store, or of a killed writer
            (self.directory / INT8_MODEL).unlink(missing_ok=True)
        if probe is not None:
            write_durably(self.directory / PROBE, probe)
        elif self.store is None:
            (self.directory / PROBE).unlink(missing_ok=True)
        if self.store is None or self.store.manifest.index_sha256 != sha256:
            write_durably(self.directory / manifest.index, data)
        self.lock.check()
        manifest.write(self.directory)
        for old in self.directory.glob("index-*.h5"):
            if old.name != manifest.index:
                old.unlink()
        self._set_store(FeatureStore(self.directory, manifest, index))

    def set_maker(self, made_with: Mapping[str, Any]) -> None:
        """Record the library versions and the machine that make the next shards."""
        self._maker = self._number_of_maker(made_with)

    def _number_of_maker(self, made_with: Mapping[str, Any]) -> int:
        manifest = self.current.manifest
        if made_with not in manifest.makers:
            manifest = replace(manifest, later_makers=(*manifest.later_makers, made_with))
            self._write_manifest(manifest)
        return manifest.makers.index(made_with)

    def put_shard(self, content: ShardContent, bad: tuple[BadRow, ...]) -> None:
        """Write a shard durably: when this returns, a power cut cannot undo it. `bad` are rows without features."""
        self.lock.check()
        manifest = self.current.manifest
        data = build_shard(content, manifest.fingerprint, manifest.compression)
        make_directory(self.directory / SHARDS)  # it may be what was lost
        write_durably(self.directory / SHARDS / shard_name(content.start, content.stop), data)
        self._add(ShardEntry(content.start, content.stop, len(data), sha256_of(data), bad, self._maker))

    def accept(self, receipts: Sequence[Receipt]) -> dict[str, str]:
        """Give staged shards their final names and list them; return the problems of those that are not accepted.

        The problems are by the name of the file. The file of a shard that another process has computed, too, is
        deleted; so are those with a problem. When this returns, a power cut cannot undo it.
        """
        problems, entries = {}, []
        for receipt in receipts:
            self.lock.check()
            entry, path = receipt.entry, self.directory / SHARDS / receipt.name
            if problem := find_problem(self.current, path, entry.start, entry.stop, entry.bytes):
                problems[receipt.name] = problem
            elif not self._is_in_place(entry.start, entry.stop):
                maker = self._number_of_maker(receipt.made_with)
                os.replace(path, path.with_name(shard_name(entry.start, entry.stop)))
                entries.append(replace(entry, maker=maker))
            path.unlink(missing_ok=True)
        sync_directory(self.directory / SHARDS)
        self._add(*entries)
        return problems

    def _is_in_place(self, start: int, stop: int) -> bool:
        """Return whether a range has a finished shard whose file exists."""
        return start in self._entries and (self.directory / SHARDS / shard_name(start, stop)).exists()

    def _add(self, *entries: ShardEntry) -> None:
        # The manifest describes another file where a shard replaces a listed one, so that it cannot wait.
        is_urgent = any(entry.start in self._entries for entry in entries)
        self._entries.update({entry.start: entry for entry in entries})
        self._is_committed = self._is_committed and not entries
        if is_urgent or monotonic() >= self._next_commit:
            self.commit()

    def commit(self) -> FeatureStore:
        """Write the manifest if there are shards that it does not list, and return the store."""
        if not self._is_committed:
            self._write_manifest(self.current.manifest)
        return self.current

    def _write_manifest(self, manifest: Manifest) -> None:
        started = monotonic()
        manifest = replace(manifest, shards=tuple(entry for _, entry in sorted(self._entries.items())))
        self.lock.check()
        manifest.write(self.directory)
        self.store, self._is_committed = FeatureStore(self.directory, manifest, self.current.index), True
        now = monotonic()
        self._next_commit = now + max(MIN_SECONDS, (now - started) / MAX_SHARE)

    def adopt(self) -> int:
        """List shards that a killed writer, or processes without the lock, wrote and that are not listed.

        Return how many there were. A shard that is not exactly what the index says is deleted. So is one of another
        process that could not read an image: its host may not have the images.
        """
        adopted = 0
        for shard in check_unlisted(self.current, set(self._entries), self._on_check):
            self.lock.check()
            if (entry := shard.entry) is None or (shard.is_staged and self._is_useless(entry)):
                logger.info("%s is not part of the store; deleted", shard.path)
                shard.path.unlink()
                continue
            maker = self._maker if shard.made_with is None else self._number_of_maker(shard.made_with)
            if shard.is_staged:
                sync_file(shard.path)  # its writer may have been killed before it did
                os.replace(shard.path, shard.path.with_name(shard_name(entry.start, entry.stop)))
                sync_directory(shard.path.parent)
            self._add(replace(entry, maker=maker))
            adopted += 1
        remove_makers(self.directory)
        self.commit()
        return adopted

    def _is_useless(self, entry: ShardEntry) -> bool:
        """Return whether a staged shard is there already, or lacks images that this process may be able to read."""
        return self._is_in_place(entry.start, entry.stop) or has_unread_rows(entry)

    def remove_staged(self) -> None:
        """Delete staged shards that are in place, as other processes computed them a second time."""
        for staged in list_staged(self.directory):
            if self._is_in_place(staged.start, staged.stop):
                staged.path.unlink(missing_ok=True)
        remove_makers(self.directory)

    def quarantine(self, entries: Sequence[ShardEntry]) -> list[Path]:
        """Move the files of shards that are not missing aside, and return where they are now.

        The manifest lists the shards, as missing, until `put_shard` replaces them.
        """
        folder, moved = self.directory / QUARANTINE, []
        for path in filter(os.path.lexists, map(self.current.shards.path, entries)):
            self.lock.check()
            make_directory(folder)
            moved.append(_free_name(folder / path.name))
            os.replace(path, moved[-1])
        for changed in [folder, self.directory / SHARDS] if moved else []:
            sync_directory(changed)
        return moved


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return next(name for name in chain([path], names) if not os.path.lexists(name))
