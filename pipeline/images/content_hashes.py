"""The sha256 of every image file's bytes, read by several threads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path

from pipeline.images.formats import may_be_image

READERS = 8  # threads; more than cores, as they wait for disks
FILES_PER_TASK = 64
BLOCK_BYTES = 1 << 20


class Unusable(Enum):
    """Why a file has no sha256."""

    NO_IMAGE = "is no image"
    UNREADABLE = "cannot be read"


Content = bytes | Unusable  # the sha256, 32 bytes, or why there is none


def read_contents(root: Path, ids: Sequence[str], on_read: Callable[[int, int], None]) -> list[Content]:
    """Return the sha256 of each file, or why it has none.

    Parameters
    ----------
    root : Path
        The folder that the ids are relative to.
    ids : sequence of str
        Paths of the files below `root`.
    on_read : callable
        Called as `on_read(done, total)` before the first file and after every `FILES_PER_TASK` files.
    """
    contents: list[Content] = []
    chunks = [ids[start : start + FILES_PER_TASK] for start in range(0, len(ids), FILES_PER_TASK)]
    pool = ThreadPoolExecutor(READERS)
    try:
        if ids:
            on_read(0, len(ids))
        for chunk in pool.map(lambda chunk: [_read_content(root / id) for id in chunk], chunks):
            contents += chunk
            on_read(len(contents), len(ids))
    finally:
        pool.shutdown(cancel_futures=True)
    return contents


def _read_content(path: Path) -> Content:
    try:
        with open(path, "rb", buffering=0) as file:
            block = file.read(BLOCK_BYTES)
            if not may_be_image(path, block):
                return Unusable.NO_IMAGE
            digest = hashlib.sha256()
            while block:
                digest.update(block)
                block = file.read(BLOCK_BYTES)
    except OSError:
        return Unusable.UNREADABLE
    return digest.digest()
