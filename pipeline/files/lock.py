"""Locks that let one process write at a time; the kernel frees them when the process ends."""

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import PipelineError, StoreBusy, StoreError
from pipeline.files.durable import make_directory

LOCK = ".lock"
HOLDER = ".writer.json"  # names the writer; not part of the lock file, which may be emptied when it is opened


@contextlib.contextmanager
def lock_directory(directory: Path, *, wait: float = 0) -> Iterator[None]:
    """Make this process the only writer of a directory, which is created if necessary.

    `wait` is the time in seconds that another writer has to finish.

    Raises
    ------
    StoreBusy
        Another process is writing; the message names it. Nothing was changed.
    StoreError
        The directory cannot be written to.
    """
    try:
        make_directory(directory)
        lock = FileLock(directory / LOCK)
        lock.acquire(timeout=wait)
    except Timeout:
        raise StoreBusy(f"{directory} is being written to by {_holder(directory)}; wait for it or stop it") from None
    except FileExistsError:
        raise StoreError(f"{directory} is not a directory; give another one") from None
    except OSError as error:
        raise StoreError(f"{directory} cannot be written to: {error.strerror}; give another directory") from None
    try:
        holder = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        (directory / HOLDER).write_text(json.dumps(holder))
        yield
    finally:
        with contextlib.suppress(OSError):
            (directory / HOLDER).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Make this process the only writer of a file; the lock is a hidden file beside it, removed at the end."""
    lock = FileLock(path.with_name(f".{path.name}{LOCK}"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise PipelineError(f"{path} is being written to by another process; wait for it or stop it") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # on Windows, where the release removes the file
            Path(lock.lock_file).unlink()
        lock.release()


def _holder(directory: Path) -> str:
    """Return a description of the process that holds the lock."""
    try:
        holder = json.loads((directory / HOLDER).read_text())
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
