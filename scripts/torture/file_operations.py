"""Intercept every file operation below a folder, in this process."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

BY_PATH = ("os.open", "os.unlink", "os.remove", "os.mkdir", "os.rmdir", "os.replace", "os.rename", "io.open")
BY_DESCRIPTOR = ("os.write", "os.ftruncate", "os.fsync", "os.fstat", "os.close")


@dataclass(frozen=True)
class Operation:
    """A file operation that is about to happen; calling the object performs it.

    Attributes
    ----------
    number : int
        Number of the operation, counted from 1.
    name : str
        Name of the function, such as `os.write`.
    path : str
        Path of the file.
    """

    number: int
    name: str
    path: str
    real: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> Any:
        return self.real(*self.args, **self.kwargs)


@contextlib.contextmanager
def interfered(folder: Path, interfere: Callable[[Operation], Any]) -> Iterator[None]:
    """Call `interfere(operation)` in place of each operation on `folder` and what is in it."""
    inside, number, lock = str(folder), 0, threading.Lock()

    def count() -> int:
        nonlocal number
        with lock:
            number += 1
            return number

    def wrapped(name: str, real: Callable[..., Any], path_of: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            path = path_of(*args, **kwargs)
            if path != inside and not path.startswith(inside + os.sep):
                return real(*args, **kwargs)
            return interfere(Operation(count(), name, path, real, args, kwargs))

        return call

    with contextlib.ExitStack() as stack:
        for name in (*BY_PATH, *BY_DESCRIPTOR):
            module, _, function = name.partition(".")
            real = getattr(__import__(module), function)
            path_of = _path_of_descriptor if name in BY_DESCRIPTOR else _path
            stack.enter_context(mock.patch(name, wrapped(name, real, path_of)))
        yield


def _path(path: Any, *rest: Any, dir_fd: int | None = None, **options: Any) -> str:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""
    return os.fsdecode(path) if dir_fd is None else os.path.join(_path_of_descriptor(dir_fd), os.fsdecode(path))  # noqa: PTH118


def _path_of_descriptor(descriptor: int, *rest: Any) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return ""
