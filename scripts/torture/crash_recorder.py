"""Record what runs do to the files of a folder: every change of a directory, every write and every sync, in order.

Before and after each intercepted file operation the recorder compares the folder with what it knows of it. So
it also notices what no interception sees: writes of file objects and of C libraries. Those become visible at
the next operation, as one write. Any number of processes can record into one log, each with a `Recorder` of its
own: an operation holds a lock on the log, which puts the operations of all processes in one order.
"""

import contextlib
import fcntl
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .file_operations import Operation, interfered

Entry = tuple[int, str]  # inode of a directory, and a name in it


class Change(NamedTuple):
    """A change of directories: an entry appears (create), disappears (unlink), or moves (rename)."""

    inode: int
    removed: Entry | None
    added: Entry | None
    is_directory: bool


class Write(NamedTuple):
    """What a file holds after a write or a truncation, as a whole."""

    inode: int
    data: bytes


class Sync(NamedTuple):
    """An fsync of a file or of a directory that returned."""

    inode: int


class Note(NamedTuple):
    """What a run has acknowledged at this moment, or takes back; see `crash_promises`."""

    what: tuple[Any, ...]


Event = Change | Write | Sync | Note


class Recorder:
    """Records the folder into a log, from now on; a folder of which the log knows nothing is on disk as it is."""

    def __init__(self, folder: Path, log: Path):
        self.folder, self.log = folder, log
        self._entries: dict[Entry, int] = {}
        self._data: dict[int, bytes | None] = {}  # of every inode; None for a directory
        self._thread = threading.Lock()
        self._end = 0  # of the log, as far as it was read
        with self._turn():
            if not self._end:
                self._compare()
                for inode in [self.folder.stat().st_ino, *self._data]:
                    self._append(Sync(inode))

    def note(self, *what: Any) -> None:
        """Record what a run has acknowledged."""
        with self._turn():
            self._compare()
            self._append(Note(what))

    @contextlib.contextmanager
    def recording(self, kill_before: int = 0) -> Iterator[None]:
        """Record this process; with `kill_before`, kill it before that sync, counted from 1."""
        numbers = count(1)

        def observe(operation: Operation) -> Any:
            if operation.name in ("os.fstat", "os.close"):
                return operation()
            with self._turn():
                self._compare()
                if operation.name != "os.fsync":
                    try:
                        return operation()
                    finally:
                        self._compare()
                if next(numbers) == kill_before:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = operation()
                self._append(Sync(os.fstat(operation.args[0]).st_ino))
                return result

        with interfered(self.folder, observe):
            yield
        with self._turn():
            self._compare()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Be the only one that records, and learn what other processes recorded before."""
        with self._thread, open(self.log, "a+b") as self._file:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._file.seek(self._end)
            for event in read_events(self._file):
                self._apply(event)
            self._end = self._file.tell()
            yield

    def _append(self, event: Event) -> None:
        append_event(self._file, event)
        self._end = self._file.tell()
        self._apply(event)

    def _apply(self, event: Event) -> None:
        if isinstance(event, Write):
            self._data[event.inode] = event.data
        elif isinstance(event, Change):
            if event.removed and self._entries.get(event.removed) == event.inode:
                del self._entries[event.removed]
            if event.added:
                self._entries[event.added] = event.inode
                self._data.setdefault(event.inode, None if event.is_directory else b"")
            named = set(self._entries.values())
            self._data = {inode: data for inode, data in self._data.items() if inode in named}

    def _compare(self) -> None:
        """Record the differences between the folder and what is known of it."""
        entries, data = _read(self.folder)
        before = {inode: entry for entry, inode in self._entries.items()}
        for entry, inode in entries.items():
            if self._entries.get(entry) != inode:
                moved_from = before.get(inode)
                removed = moved_from if moved_from and entries.get(moved_from) != inode else None
                self._append(Change(inode, removed, entry, data[inode] is None))
        for entry, inode in reversed(list(self._entries.items())):
            if entry not in entries:
                self._append(Change(inode, entry, None, self._data[inode] is None))
        for inode, content in data.items():
            if content is not None and content != self._data[inode]:
                self._append(Write(inode, content))


def _read(folder: Path) -> tuple[dict[Entry, int], dict[int, bytes | None]]:
    """Return the entries of a folder and of those in it, outer ones first, and the bytes of each file."""
    entries: dict[Entry, int] = {}
    data: dict[int, bytes | None] = {}
    todo = [(folder.stat().st_ino, folder)]
    for parent, directory in todo:
        for item in sorted(os.scandir(directory), key=lambda item: item.name):
            inode = item.inode()
            entries[parent, item.name] = inode
            if item.is_dir():
                data[inode] = None
                todo.append((inode, Path(item.path)))
            else:
                with open(item.path, "rb") as file:
                    data[inode] = file.read()
    return entries, data


def append_event(file: BinaryIO, event: Event) -> None:
    """Append an event to a log; it stays when this process is killed."""
    pickle.dump(event, file)
    file.flush()


def read_events(file: BinaryIO) -> Iterator[Event]:
    """Read the events of a log, from its position on."""
    with contextlib.suppress(EOFError):
        while True:
            yield pickle.load(file)  # noqa: S301  # our own processes wrote it


def read_log(folder: Path, log: Path) -> list[Event]:
    """Return the events of a log; the folder is inode 0, and a number that the kernel used again is another inode."""
    number_of, numbers = {folder.stat().st_ino: 0}, count(1)
    events: list[Event] = []
    with open(log, "rb") as file:
        for event in read_events(file):
            if isinstance(event, Change):
                if event.added and not event.removed:
                    number_of[event.inode] = next(numbers)
                removed, added = (
                    (number_of[entry[0]], entry[1]) if entry else None for entry in (event.removed, event.added)
                )
                events.append(Change(number_of[event.inode], removed, added, event.is_directory))
            elif isinstance(event, Note):
                events.append(event)
            elif event.inode in number_of:
                events.append(event._replace(inode=number_of[event.inode]))
    return events
