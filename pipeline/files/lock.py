"""One writer at a time: a lock held by the kernel, which frees it when the holder dies."""

from __future__ import annotations

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
HOLDER = ".writer.json"  # apart from the lock: opening a lock file may empty it


@contextlib.contextmanager
def writing(directory: Path, *, wait: float = 0) -> Iterator[None]:
    """Be the only writer of a directory, which is created if need be.

    Parameters
    ----------
    directory : Path
    wait : float
        Seconds to wait for another writer to finish.

    Raises
    ------
    StoreBusy
        Another process is; the message names it. Nothing was touched.
    StoreError
        The directory cannot be written to.
    """
    lock = _lock(directory, wait)
    try:
        (directory / HOLDER).write_text(json.dumps(_ourselves()))
        yield
    finally:
        with contextlib.suppress(OSError):
            (directory / HOLDER).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def writing_file(path: Path) -> Iterator[None]:
    """Be the only one that makes the file at `path`; the lock is a hidden file beside it, until then.

    Raises
    ------
    PipelineError
        Another process is. Nothing was touched.
    OSError
        Nothing can be written there.
    """
    lock = FileLock(path.with_name(f".{path.name}{LOCK}"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise PipelineError(f"{path} is being written to by another process; wait for it or stop it") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes it at the release
            Path(lock.lock_file).unlink()
        lock.release()


def _lock(directory: Path, wait: float) -> FileLock:
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
    return lock


def _ourselves() -> dict[str, str | int]:
    return {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def _holder(directory: Path) -> str:
    try:
        holder = json.loads((directory / HOLDER).read_text())
        if holder["host"] == platform.node() and _is_gone(int(holder["pid"])):
            return "another process"  # it was killed, and the one that holds the lock has not written its name yet
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"


def _is_gone(pid: int) -> bool:
    if os.name != "posix":  # where signal 0 is not a question
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is somebody else's
        pass
    return False
