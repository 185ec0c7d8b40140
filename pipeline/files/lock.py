"""Locks that let one process write at a time.

The kernel frees a lock when its process ends. Where the file system has no such locks, the lock is a lease. Some file
systems grant a lock to one process on each host; so each holder writes a token into a file beside the lock, and stops
when it finds another there.
"""

import contextlib
import errno
import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import PipelineError, StoreBusy, StoreError
from pipeline.files.durable import make_directory, sync_with_parents, write_durably
from pipeline.files.lease import Lease

LOCK = ".lock"
HOLDER = ".writer.json"  # names the writer; not part of the lock file, which may be emptied when it is opened
HAS_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}  # what flock answers on such a file system


class WriterLock:
    """The lock `lock` on `written`, a file or directory; the file `holder` names the process that holds it."""

    def __init__(self, written: Path, lock: Path, holder: Path):
        name = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        self._written = written
        self._lock = FileLock(lock, fallback_to_soft=False)
        self._lease = Lease(holder, json.dumps({**name, "token": secrets.token_hex(16)}).encode())

    def acquire(self, wait: float = 0) -> None:
        """Take the lock; raise Timeout if another process holds it for the next `wait` seconds."""
        try:
            self._lock.acquire(timeout=wait)
        except OSError as error:
            if error.errno not in HAS_NO_LOCKS:
                raise
            self._lease.acquire(wait)
            return
        try:
            write_durably(self._lease.path, self._lease.content)
        except BaseException:
            self._lock.release()
            raise

    def is_held(self) -> bool:
        """Return whether no other process has taken the lock over."""
        return self._lease.is_held()

    def check(self) -> None:
        """Raise StoreBusy if another process has taken the lock over; to be called before each change that others see.

        It reads one small file.
        """
        if not self.is_held():
            raise StoreBusy(
                f"{self._written} was taken over by {_holder(self._lease.path)}, so this process stopped writing to "
                "it; wait for the other one, then run this command again"
            )

    def release(self) -> None:
        """Let other processes take the lock."""
        self._lease.release()
        self._lock.release()


@contextlib.contextmanager
def lock_directory(directory: Path, *, wait: float = 0) -> Iterator[WriterLock]:
    """Make this process the only writer of a directory, which is created if necessary.

    `wait` is the time in seconds that another writer has to finish.

    Raises
    ------
    StoreBusy
        Another process is writing; the message names it. Nothing was changed.
    StoreError
        The directory cannot be written to.
    """
    lock = WriterLock(directory, directory / LOCK, directory / HOLDER)
    try:
        make_directory(directory)
        lock.acquire(wait)
    except Timeout:
        holder = _holder(directory / HOLDER)
        raise StoreBusy(f"{directory} is being written to by {holder}; wait for it or stop it") from None
    except FileExistsError:
        raise StoreError(f"{directory} is not a directory; give another one") from None
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{directory} cannot be written to: {reason}; give another directory") from None
    try:
        sync_with_parents(directory)  # an earlier writer may have been killed before it did
        yield lock
    finally:
        lock.release()


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[WriterLock]:
    """Make this process the only writer of a file; the lock is two hidden files beside it, removed at the end."""
    lock_path, holder = (path.with_name(f".{path.name}{name}") for name in (LOCK, HOLDER))
    lock = WriterLock(path, lock_path, holder)
    try:
        lock.acquire()
    except Timeout:
        raise PipelineError(f"{path} is being written to by another process; wait for it or stop it") from None
    try:
        yield lock
    finally:
        with contextlib.suppress(OSError):  # on Windows, where the release removes the file
            lock_path.unlink()
        lock.release()


def _holder(path: Path) -> str:
    """Return a description of the process that the file `path` names as the holder of the lock."""
    try:
        holder = json.loads(path.read_text())
        if holder["host"] == platform.node() and _is_gone(int(holder["pid"])):
            return "another process"  # the file names a killed writer; the new one has not written the file yet
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"


def _is_gone(pid: int) -> bool:
    """Return whether no process has this id; False where that is not known."""
    try:
        if os.name == "posix":  # on Windows os.kill would end the process
            os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # the process exists and belongs to another user
        pass
    return False
