"""What a run has acknowledged, and so must survive a power cut: stores, shards and heads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from pipeline.files.durable import sha256_of_file
from pipeline.heads.load_head import RECORD
from pipeline.store import Manifest, StoreWriter, read_manifest
from pipeline.store.file_names import MANIFEST, SHARDS, shard_name
from pipeline.store.staged_shard import Receipt, stage_shard
from pipeline.store.store_layout import StoreLayout

from .crash_recorder import Event, Note

STORE, DONE, KEEP, VOID, HEAD = "store", "done", "keep", "void", "head"
Say = Callable[..., None]  # notes one of them, with what is listed at `Promises.hear`


@dataclass
class Promises:
    """What was acknowledged; stores and views by their path below the cache, `.` for the store itself.

    Attributes
    ----------
    stores : set of str
        Stores and views that must open.
    shards : dict
        The sha256 of each shard by its final name, which it may not have yet, by store.
    heads : dict
        The sha256 of the record of each head, by its path below the cache; None while another one is saved, of
        the same name: then this or that is there.
    """

    stores: set[str] = field(default_factory=set)
    shards: dict[str, dict[str, str]] = field(default_factory=dict)
    heads: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def after(cls, events: Sequence[Event]) -> Promises:
        """Return what is acknowledged after these events."""
        promises = cls()
        for event in events:
            if isinstance(event, Note):
                promises.hear(*event.what)
        return promises

    def hear(self, kind: str, where: str, *details: Any) -> None:
        """Take note of an acknowledgement.

        `STORE`: the manifest is on disk. `DONE`, dict of names and sha256: so are shards. `KEEP`, names: from now on
        the run may give up other shards. `VOID`: it may give up the store. `HEAD`, sha256 or None.
        """
        shards = self.shards.setdefault(where, {})
        if kind == STORE:
            self.stores.add(where)
        elif kind == DONE:
            shards.update(details[0])
        elif kind == KEEP:
            self.shards[where] = {name: sha256 for name, sha256 in shards.items() if name in details[0]}
        elif kind == VOID:
            shards.clear()
            self.stores.discard(where)
        elif kind == HEAD:
            self.heads[where] = details[0]


def acknowledge_all(cache: Path, say: Say) -> None:
    """Acknowledge what a store and its views hold."""
    for path in sorted(cache.rglob(MANIFEST)):
        acknowledge_store(path.parent, cache, say)


def acknowledge_store(directory: Path, cache: Path, say: Say) -> None:
    """Acknowledge a store and the shards that its manifest lists, except damaged ones."""
    where, shards = directory.relative_to(cache).as_posix(), {}
    for entry in read_manifest(directory).shards:
        path = directory / SHARDS / shard_name(entry.start, entry.stop)
        if path.exists() and sha256_of_file(path) == entry.sha256:
            shards[path.name] = entry.sha256
    say(STORE, where)
    say(DONE, where, shards)


def acknowledge_head(directory: Path, cache: Path, say: Say) -> None:
    """Acknowledge a head that was saved."""
    say(HEAD, directory.relative_to(cache).as_posix(), sha256_of_file(directory / RECORD))


@contextlib.contextmanager
def acknowledging(cache: Path, say: Say) -> Iterator[None]:
    """Acknowledge shards and manifests when the writers of this process have written them."""

    def patch(owner: type, name: str, around: Callable[..., Any]) -> None:
        real = getattr(owner, name)
        stack.enter_context(mock.patch.object(owner, name, lambda *args, **kw: around(real, *args, **kw)))

    def where(directory: Path) -> str:
        return directory.relative_to(cache).as_posix()

    def begin(real: Any, writer: StoreWriter, manifest: Manifest, *rest: Any, **files: Any) -> None:
        if writer.rebuild:
            say(VOID, where(writer.directory))
        say(KEEP, where(writer.directory), [shard_name(entry.start, entry.stop) for entry in manifest.shards])
        real(writer, manifest, *rest, **files)

    def write(real: Any, manifest: Manifest, directory: Path) -> None:
        real(manifest, directory)
        acknowledge_store(directory, cache, say)

    def put_shard(real: Any, writer: StoreWriter, content: Any, bad: Any) -> None:
        real(writer, content, bad)
        name = shard_name(content.start, content.stop)
        say(DONE, where(writer.directory), {name: sha256_of_file(writer.directory / SHARDS / name)})

    def quarantine(real: Any, writer: StoreWriter, entries: Any) -> Any:
        good = set(writer.current.manifest.shards) - set(entries)
        say(KEEP, where(writer.directory), [shard_name(entry.start, entry.stop) for entry in good])
        return real(writer, entries)

    def staged(layout: StoreLayout, content: Any, *rest: Any) -> Receipt:
        receipt = stage_shard(layout, content, *rest)
        say(DONE, where(layout.directory), {shard_name(content.start, content.stop): receipt.entry.sha256})
        return receipt

    with contextlib.ExitStack() as stack:
        for around in (begin, put_shard, quarantine):
            patch(StoreWriter, around.__name__, around)
        patch(Manifest, "write", write)
        stack.enter_context(mock.patch("pipeline.extraction.compute_part.stage_shard", staged))
        yield
