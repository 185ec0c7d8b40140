"""Decode images in threads, some of them before they are needed."""

import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from pipeline.files.cores import available_cores
from pipeline.images.augment import View, augment
from pipeline.images.decode import DecodeError
from pipeline.images.status import Status
from pipeline.store import NO_ROW, Index

MAX_BYTES = 512 << 20  # of a file; the largest image that is decoded is smaller in any format

Decode = Callable[[bytes], np.ndarray]  # from an image file to its pixels, (height, width, 3) float32
RowOf = Callable[[bytes], int]  # from an image's sha256, 32 bytes, to its row in a store or NO_ROW


class Task(NamedTuple):
    """An image to decode and the row of the store that it is for."""

    row: int  # NO_ROW if it is found by the content of the file
    content: bytes | None  # the sha256 that the file must have; None accepts any file
    id: str | None  # None if no image of the data set has this content any more
    path: str | None
    view: View | None = None  # the view whose augmented copy is made; None for the image itself


class Decoded(NamedTuple):
    """The pixels of a task, (height, width, 3) float32; None with status OK if the store has its features."""

    task: Task
    pixels: np.ndarray | None
    status: Status
    reason: str = ""


def list_tasks(index: Index, ranges: np.ndarray, view: View | None = None) -> Iterator[Task]:
    """List a task for each row of the ranges, an ndarray of shape (r, 2) of first rows and ends."""
    images, root = index.images, str(index.images.root)
    for start, stop in ranges.tolist():
        for row in range(start, stop):
            content, image = index.contents[row].tobytes(), index.image_of_row[row]
            if image == NO_ROW:
                yield Task(row, content, None, None)
            else:
                id = images.ids[image]
                yield Task(row, content, id, os.path.join(root, id), view)  # noqa: PTH118  # a million times


def decode_ahead(
    tasks: Iterable[Task],
    decode: Decode,
    *,
    workers: int | None,
    ahead: int,
    row_of: RowOf = lambda content: NO_ROW,
    then: Callable[[Decoded], Any] = lambda image: image,
) -> Generator[Any]:
    """Decode images in `workers` threads, at most `ahead` of them before they are asked for, in order.

    A task without a content gets that of its file, and the row that `row_of` finds for it; an image
    that has a row is not decoded. `row_of` is called from the threads, and not for augmented copies.
    `then` is called with each decoded image in the thread that decoded it, and its result is yielded. Close
    the generator to stop the threads.
    """
    pool = ThreadPoolExecutor(workers or available_cores(), thread_name_prefix="decode")
    waiting: deque[Future[Any]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(lambda task: then(_decode(task, decode, row_of)), task))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(task: Task, decode: Decode, row_of: RowOf) -> Decoded:
    try:
        data = read_image(task.path)
        content = hashlib.sha256(data).digest()
        if task.content is None:
            task = task._replace(content=content, row=NO_ROW if task.view else row_of(content))
            if task.row != NO_ROW:
                return Decoded(task, None, Status.OK)
        elif content != task.content:
            raise DecodeError(Status.UNREADABLE, "was changed after it was scanned")
        pixels = decode(data)
    except DecodeError as error:
        return Decoded(task, None, error.status, str(error))
    return Decoded(task, augment(pixels, content, task.view) if task.view else pixels, Status.OK)


def read_image(path: str | None) -> bytes:
    """Return the bytes of an image file; raise DecodeError if it is gone, too large or cannot be read."""
    if path is None:
        raise DecodeError(Status.NEVER_WRITTEN, "its image is gone")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  # opening a FIFO would block
            raise DecodeError(Status.UNREADABLE, "is not a regular file")
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if length > MAX_BYTES:
                raise DecodeError(Status.TOO_LARGE, f"{length:,} bytes, more than {MAX_BYTES:,}")
            return file.read()
    except FileNotFoundError:
        raise DecodeError(Status.NEVER_WRITTEN, "its image is gone") from None
    except OSError as error:
        raise DecodeError(Status.UNREADABLE, f"cannot be read: {error.strerror}") from None
    except ValueError as error:  # a name with a null byte
        raise DecodeError(Status.UNREADABLE, f"cannot be read: {error}") from None
