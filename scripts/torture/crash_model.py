"""The states in which a power cut can leave a folder, by a model of what file systems promise.

After Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), and more cautious than ext4:

- An fsync of a file makes its bytes and its size durable, not its name.
- An fsync of a directory makes durable which names it had: every create, rename, unlink, mkdir and rmdir in it
  before. It makes neither the bytes of its files nor its own name in its parent durable.
- A rename happens as a whole or not at all. One between two directories is durable after the fsync of both.
- Other changes of directories may have happened or not: in each directory the first so many of them, or, as
  weaker file systems do it, any of them. So a rename may become durable before the bytes of the renamed file.
- A write that is not synced may be whole, absent, cut short at any sector, or lack sectors, which hold what they
  held before, zeros or garbage; the size may be the old or the new one.
"""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

from .crash_recorder import Change, Entry, Event, Sync, Write

SECTOR = 512
GARBAGE = b"\xa5" * SECTOR  # always the same, so that garbage does not make two states of one

Tree = dict[str, bytes | None]  # paths below the folder, outer ones first, and the bytes of each; None for directories


def draw_state(events: Sequence[Event], draw: random.Random) -> Tree:
    """Draw a state in which a power cut after these events can leave the folder."""
    pending: list[tuple[Change, set[int]]] = []  # each change, and the directories that were not synced since
    durable: dict[int, bytes] = {}
    latest: dict[int, bytes] = {}
    for event in events:
        if isinstance(event, Change):
            pending.append((event, {entry[0] for entry in (event.removed, event.added) if entry}))
            if event.added and not event.removed and not event.is_directory:
                durable[event.inode] = latest[event.inode] = b""
        elif isinstance(event, Write):
            latest[event.inode] = event.data
        elif isinstance(event, Sync):
            if event.inode in latest:
                durable[event.inode] = latest[event.inode]
            for _, unsynced in pending:
                unsynced.discard(event.inode)
    kept = [*_keep_some(pending, draw)]
    directories = {change.inode for change, _ in pending if change.is_directory}
    lost = draw.choice((_old, _new, _torn, lambda *files: draw.choice((_old, _new, _torn))(*files)))
    contents = {
        inode: data if durable[inode] == data else lost(durable[inode], data, draw) for inode, data in latest.items()
    }
    return _tree(kept, contents, directories)


def _keep_some(pending: list[tuple[Change, set[int]]], draw: random.Random) -> list[Change]:
    """Choose the changes of directories that happened: all that are durable, and some others."""
    in_order, share, ended, kept = draw.random() < 0.5, draw.choice((0.0, 0.5, 0.8, 1.0)), set[int](), []
    for change, unsynced in pending:
        stays = not unsynced or (draw.random() < share and not (in_order and ended & unsynced))
        if stays:
            kept.append(change)
        else:
            ended |= unsynced
    return kept


def _old(old: bytes, new: bytes, draw: random.Random) -> bytes:
    return old


def _new(old: bytes, new: bytes, draw: random.Random) -> bytes:
    return new


def _torn(old: bytes, new: bytes, draw: random.Random) -> bytes:
    """Draw what is left of a write that was not synced."""
    cut = draw.randrange(0, len(new) + SECTOR, SECTOR)
    size = draw.choice((len(old), len(new), min(cut, len(new))))
    share = draw.choice((0.0, 0.5, 0.9))  # of sectors that were written
    sectors = []
    for start in range(0, size, SECTOR):
        part = slice(start, start + SECTOR)
        missing = draw.choice((old[part], b"", GARBAGE))
        sectors.append((new[part] if draw.random() < share else missing)[:SECTOR].ljust(SECTOR, b"\0"))
    return b"".join(sectors)[:size]


def _tree(changes: list[Change], contents: dict[int, bytes], directories: set[int]) -> Tree:
    """Make the changes of directories, and return what can be reached from the folder."""
    entries: dict[Entry, int] = {}
    for change in changes:
        if change.removed and entries.get(change.removed) == change.inode:
            del entries[change.removed]
        if change.added:
            entries[change.added] = change.inode
    tree: Tree = {}
    todo = [(0, "")]
    for inode, path in todo:
        for (parent, name), child in sorted(entries.items()):
            if parent == inode:
                below = f"{path}/{name}" if path else name
                tree[below] = None if child in directories else contents[child]
                if child in directories:
                    todo.append((child, below))
    return tree


def digest(tree: Tree) -> bytes:
    """Return a hash by which states are told apart."""
    found = hashlib.sha256()
    for path, data in sorted(tree.items()):
        found.update(repr((path, data)).encode())
    return found.digest()


def build(tree: Tree, folder: Path) -> None:
    """Write a state into an empty folder."""
    for path, data in tree.items():
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)
