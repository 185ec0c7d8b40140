"""What the files hold: the sha256 of every image's bytes, and whether it is one at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path

from pipeline.images.listing import IMAGE_SUFFIXES, Entry

READERS = 8  # threads; more than cores, as they wait for disks
CHUNK = 64  # files a task
BLOCK = 1 << 20  # bytes read at a time
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NETPBM = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")


class Unusable(Enum):
    """Why a file has no content to speak of."""

    NO_IMAGE = "is no image"
    UNREADABLE = "cannot be read"


Content = bytes | Unusable  # the sha256, 32 bytes, or why there is none
Known = Mapping[str, tuple[int, int, bytes]]  # id to size, mtime and content when last seen


def read_contents(
    root: Path, entries: Sequence[Entry], known: Known, on_read: Callable[[int, int], None]
) -> list[Content]:
    """The content of each entry; files whose size and time are as `known` are not opened.

    `on_read(done, total)` is called at first and now and then with numbers of files to read.
    """
    contents: list[Content] = []
    fresh: list[int] = []
    for row, entry in enumerate(entries):
        size, mtime, seen = known.get(entry.id, (None, None, b""))
        if (size, mtime) == (entry.size, entry.mtime):
            contents.append(seen)
        else:
            contents.append(Unusable.UNREADABLE)
            fresh.append(row)
    done = 0
    if fresh:
        on_read(done, len(fresh))  # the clock starts here
    for rows, chunk in _read_ahead(root, entries, fresh):
        for row, content in zip(rows, chunk, strict=True):
            contents[row] = content
        done += len(rows)
        on_read(done, len(fresh))
    return contents


def _read_ahead(root: Path, entries: Sequence[Entry], rows: list[int]) -> Iterator[tuple[list[int], list[Content]]]:
    chunks = [rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK)]
    pool = ThreadPoolExecutor(READERS)
    try:
        read = pool.map(lambda chunk: [_content(root / entries[row].id) for row in chunk], chunks)
        yield from zip(chunks, read, strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _content(path: Path) -> Content:
    try:
        with open(path, "rb", buffering=0) as file:
            block = file.read(BLOCK)
            if not may_be_image(path, block):
                return Unusable.NO_IMAGE
            digest = hashlib.sha256()
            while block:
                digest.update(block)
                block = file.read(BLOCK)
    except OSError:
        return Unusable.UNREADABLE
    return digest.digest()


def may_be_image(path: Path, head: bytes) -> bool:
    """By the first bytes or by name: what calls itself an image and is none is to be listed as a bad one."""
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    netpbm = head[:2] in NETPBM and head[2:3].isspace()
    return head.startswith(MAGIC) or webp or netpbm or path.suffix.lower() in IMAGE_SUFFIXES
