"""Files that are whole or absent: the one way this package writes to disk.

A file is written under a temporary name in its own directory, synced, checked, and only then
renamed; the directory is synced last. When a function here returns, its work survives a power
cut; when it raises, the final name still holds what it held before.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Put `data` (bytes) at `path`, replacing what is there in one step.

    Raises
    ------
    OSError
        A full disk, a quota, an I/O error; `path` is untouched and no temporary is left.
    """
    with _named_at_last(path) as temporary:
        _write_and_sync(temporary, memoryview(data))


@contextlib.contextmanager
def open_durably(path: Path) -> Iterator[io.FileIO]:
    """A file to write, read and seek in, unbuffered, which is put at `path` when the block ends.

    An error inside the block leaves `path` untouched and no temporary, like one of `write_durably`.
    """
    with _named_at_last(path) as temporary, open(temporary, "x+b", buffering=0) as file:
        yield file
        os.fsync(file.fileno())


@contextlib.contextmanager
def _named_at_last(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextlib.contextmanager
def replace_directory(path: Path) -> Iterator[Path]:
    """An empty directory to fill, which is put at `path` when the block ends, replacing what is there.

    An error inside the block leaves `path` untouched and no temporary. Between the two renames of a
    replacement there is a moment when nothing has the name; the old directory is then beside it.
    """
    temporary, old = (path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}") for _ in range(2))
    try:
        temporary.mkdir()
        yield temporary
        for file in sorted(temporary.rglob("*")):
            sync_directory(file) if file.is_dir() else _sync_file(file)
        sync_directory(temporary)
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    sync_directory(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync_file(path: Path) -> None:
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _write_and_sync(path: Path, data: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        left = data
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if size != len(data):
        raise OSError(f"{path}: {size} bytes on disk, {len(data)} were written")


def sync_directory(directory: Path) -> None:
    """Make renames and removals inside `directory` survive a power cut."""
    if os.name == "nt":  # Windows cannot open a directory; its renames are journalled
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create `directory` and its missing parents, each one synced into its parent."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def replaceable(path: Path, start: bytes) -> bool:
    """Whether what is at `path` may give way to a new file of a kind: it is one too, or empty, or nothing.

    Parameters
    ----------
    path : Path
    start : bytes
        A regular expression of how each file of the kind starts, within 64 bytes.
    """
    if not path.is_file():
        return not path.exists()
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError:
        return False
    return not head or re.match(start, head, re.DOTALL) is not None


def remove_temporaries(directory: Path) -> int:
    """Delete what a killed writer left in `directory`; call it under the store's lock."""
    left_over = [path for path in directory.glob(f"{TEMPORARY}*") if path.is_file()]
    for path in left_over:
        path.unlink(missing_ok=True)
    return len(left_over)


def sha256_of(data: bytes | memoryview) -> str:
    """The sha256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """The one spelling of `value` that fingerprints and checksums are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON document that carries its own sha256 under the key `checksum`."""
    sealed = {**document, "checksum": sha256_of(canonical_json(document).encode())}
    write_durably(path, _spell(sealed))


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises
    ------
    FileNotFoundError
    ValueError
        A single changed byte is enough: the document is spelled again and compared.
    """
    data = path.read_bytes()
    try:
        sealed = json.loads(data)
        document = {key: value for key, value in sealed.items() if key != "checksum"}
        whole = sealed["checksum"] == sha256_of(canonical_json(document).encode()) and data == _spell(sealed)
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a document of this package ({error})") from None
    if not whole:
        raise ValueError(f"{path} was changed or damaged after it was written (its checksum differs)")
    return document


def _spell(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
