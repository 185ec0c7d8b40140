"""The sha256 of every image file's bytes, read by several threads."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.images.formats import FIRST_BYTES, may_be_image

READERS = 8  # threads; more than cores, as they wait for disks
FILES_PER_TASK = 64
UNREADABLE = b""  # in place of the sha256 of a file that cannot be read


def read_contents(root: Path, ids: Sequence[str], on_read: Callable[[int, int], None]) -> list[bytes | None]:
    """Return the sha256 of each file, 32 bytes; `UNREADABLE` if it cannot be read, None if it is no image.

    `on_read(done, total)` is called before the first file and after every `FILES_PER_TASK` files.
    """
    contents: list[bytes | None] = []
    starts = range(0, len(ids), FILES_PER_TASK)
    pool = ThreadPoolExecutor(READERS)
    try:
        if ids:
            on_read(0, len(ids))
        for chunk in pool.map(lambda i: [_read_content(root / id) for id in ids[i : i + FILES_PER_TASK]], starts):
            contents += chunk
            on_read(len(contents), len(ids))
    finally:
        pool.shutdown(cancel_futures=True)
    return contents


def _read_content(path: Path) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            if not may_be_image(path, file.read(FIRST_BYTES)):
                return None
            file.seek(0)
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return UNREADABLE
