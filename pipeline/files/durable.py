"""Write files so that each is complete or absent; all of the package writes to disk with these functions.

A file is written under a temporary name in its own directory, synced, checked, and then renamed; the
directory is synced last. When a function returns, its file survives a power cut; when it raises, the
final name still holds what it held before.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY = ".tmp-"


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to the file `path`, which is replaced in one step; after an OSError it is unchanged."""
    with _renamed_at_end(path) as temporary:
        _write_synced(temporary, data)


def write_new_file(path: Path, data: bytes | memoryview) -> None:
    """Write and sync a file that does not exist; after an error it does not exist. The directory is not synced."""
    try:
        _write_synced(path, data)
    except FileExistsError:
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def _write_synced(path: Path, data: bytes | memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        unwritten = memoryview(data)
        while unwritten:
            unwritten = unwritten[os.write(descriptor, unwritten) :]
        os.fsync(descriptor)
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if size != len(data):
        raise OSError(f"{path}: {size} bytes on disk, {len(data)} were written")


@contextlib.contextmanager
def open_durably(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write, which gets the name `path` when the block ends.

    After an error inside the block `path` is unchanged and no temporary file is left.
    """
    with _renamed_at_end(path) as temporary, open(temporary, "xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _renamed_at_end(path: Path) -> Iterator[Path]:
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def temporary_path(path: Path) -> Path:
    """Return a new temporary name beside `path`."""
    return path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")


@contextlib.contextmanager
def replace_directory(path: Path) -> Iterator[Path]:
    """Make an empty directory to fill, which gets the name `path` when the block ends.

    An existing directory is replaced in two renames, between which nothing has the name `path` and the
    old directory lies beside it. After an error inside the block `path` is unchanged and no temporary
    directory is left.
    """
    temporary, old = temporary_path(path), temporary_path(path)
    try:
        temporary.mkdir()
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_dir():
                sync_directory(file)
            else:
                sync_file(file)
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


def sync_file(path: Path) -> None:
    """Make the bytes of a file survive a power cut, whoever wrote them."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make renames and removals inside `directory` survive a power cut."""
    if os.name == "nt":  # Windows cannot open a directory; its renames are journalled
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_with_parents(directory: Path) -> None:
    """Make what is in `directory`, and its own name, survive a power cut, where a killed process did not.

    A process that is killed after a rename or a mkdir and before the sync leaves a name that is visible and not
    durable. Whoever builds on what it left calls this first.
    """
    sync_directory(directory)
    for parent in directory.absolute().parents:
        with contextlib.suppress(OSError):  # a directory that this process may not open, nor has it made it
            sync_directory(parent)


def make_directory(directory: Path) -> None:
    """Create `directory` and its missing parents, and sync the parent of each."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def is_replaceable(path: Path, start: bytes) -> bool:
    """Return whether `path` does not exist, is empty, or is a file of the kind that would replace it.

    `start` is a regular expression that the first 64 bytes of every file of the kind match.
    """
    if not path.is_file():
        return not path.exists()
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError:
        return False
    return not head or re.match(start, head, re.DOTALL) is not None


def remove_temporaries(directory: Path) -> None:
    """Delete the temporary files of a killed writer; the caller must hold the lock."""
    for path in filter(Path.is_file, directory.glob(f"{TEMPORARY}*")):
        path.unlink(missing_ok=True)


def sha256_of(data: bytes | memoryview) -> str:
    """Return the sha256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """Return `value` as JSON in a form that equal values share; fingerprints and checksums are computed of it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON document together with its sha256, under the key `checksum`."""
    write_durably(path, _with_checksum(document))


def read_json(path: Path) -> dict[str, Any]:
    """Read a document that `write_json` wrote, without its checksum; a changed byte is a ValueError."""
    data = path.read_bytes()
    try:
        document = json.loads(data)
        document.pop("checksum")
        # All bytes are compared: some changes, as of white space, leave the values as they were.
        intact = data == _with_checksum(document)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a document of this package ({error})") from None
    if not intact:
        raise ValueError(f"{path} was changed or damaged after it was written (its checksum differs)")
    return document


def _with_checksum(document: dict[str, Any]) -> bytes:
    document = {**document, "checksum": sha256_of(canonical_json(document).encode())}
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
