"""The loop of stage one: image files in, rows out, in the order of the plan.

Three generators pull on one another: files are decoded ahead in threads, batches of one fixed
shape go through the conv base, finished rows are collected into shards, each of which is written
before the next is begun: a kill costs one shard at most.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.errors import StoreError
from pipeline.extraction.callbacks import Callbacks
from pipeline.images.augment import View, augment
from pipeline.images.decode import DecodeError, Size, decode_image
from pipeline.images.status import Status
from pipeline.store import NO_ROW, BadRow, FeatureStore, Index, ShardContent, StoreWriter

if TYPE_CHECKING:
    from pipeline.conv_base.load import ConvBase

MAX_BYTES = 512 << 20  # of a file; the largest image that is decoded is smaller in any format
MAX_WAITING = 8  # batches of images, most of them without pixels, before the others are computed

Compute = Callable[[np.ndarray], np.ndarray]
RowOf = Callable[[bytes], int]  # from an image's sha256, 32 bytes, to its row in a store or NO_ROW


class Task(NamedTuple):
    """A row to compute: the content it stands for, and a file that has it, if there is one.

    Without a content the file's own is taken, whatever it is; the row is then found by it.
    """

    row: int
    content: bytes | None
    id: str | None
    path: str | None
    view: View | None = None  # whose copy of the image is meant; the image itself if None


class Decoded(NamedTuple):
    """A task's pixels, (height, width, 3) float32, or why there are none; OK without: they are not needed."""

    task: Task
    pixels: np.ndarray | None
    status: Status
    reason: str = ""


class Row(NamedTuple):
    """A task's features in the store's dtype, or why there are none; OK without: the store has them."""

    task: Task
    features: np.ndarray | None
    status: Status
    reason: str = ""


def tasks_of(index: Index, pending: np.ndarray, view: View | None = None) -> Iterator[Task]:
    """The rows of the pending ranges, each with one image that has its content."""
    images = index.images
    source = np.full(len(index.contents), NO_ROW)
    at = np.flatnonzero(index.rows != NO_ROW)[::-1]
    source[index.rows[at]] = at  # of equal images, the last one written here is the first in the table
    for start, stop in pending.tolist():
        for row in range(start, stop):
            content = index.contents[row].tobytes()
            if source[row] == NO_ROW:
                yield Task(row, content, None, None)
            else:
                id = images.ids[source[row]]
                yield Task(row, content, id, os.path.join(images.root, id), view)  # noqa: PTH118  # a million times


def rows_of(
    tasks: Iterable[Task],
    conv_base: ConvBase,
    dtype: np.dtype,
    *,
    batch_size: int,
    workers: int | None,
) -> Generator[Row]:
    """The features of each task, in order; close it to stop the threads that decode."""
    spec, workers = conv_base.spec, workers or os.cpu_count() or 1
    size = spec.height_width
    decoded = decode_ahead(tasks, size, spec.resize, workers=workers, ahead=2 * batch_size)
    with contextlib.closing(decoded):
        yield from compute_rows(decoded, conv_base.compute, batch_shape=(batch_size, *size, 3), dtype=dtype)


def first_pixels(tasks: Iterator[Task], conv_base: ConvBase, n: int, workers: int | None) -> np.ndarray:
    """The first `n` images, or fewer, that can be decoded, ndarray of shape (n, height, width, 3), float32."""
    size, workers = conv_base.spec.height_width, workers or os.cpu_count() or 1
    with contextlib.closing(decode_ahead(tasks, size, conv_base.spec.resize, workers=workers, ahead=n)) as decoded:
        pixels = list(islice((one.pixels for one in decoded if one.pixels is not None), n))
    return np.stack(pixels) if pixels else np.empty((0, *size, 3), np.float32)


def decode_ahead(
    tasks: Iterable[Task],
    size: Size,
    resize: str,
    *,
    workers: int,
    ahead: int,
    row_of: RowOf = lambda content: NO_ROW,
) -> Generator[Decoded]:
    """Decode in `workers` threads, at most `ahead` images before they are asked for.

    A task without a content gets that of its file and the row that `row_of` finds for it; where it
    finds one, nothing is decoded. `row_of` is called from the threads; not for a view's copy.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[Future[Decoded]] = deque()
    tasks = iter(tasks)
    try:
        for task in tasks:
            waiting.append(pool.submit(_decode, task, size, resize, row_of))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(task: Task, size: Size, resize: str, row_of: RowOf) -> Decoded:
    data = _read(task)
    if isinstance(data, Decoded):
        return data
    content = hashlib.sha256(data).digest()
    if task.content is None:
        task = task._replace(content=content, row=NO_ROW if task.view else row_of(content))
        if task.row != NO_ROW:
            return Decoded(task, None, Status.OK)
    elif content != task.content:
        return Decoded(task, None, Status.UNREADABLE, "was changed after it was scanned")
    try:
        pixels = decode_image(data, size, resize)
    except DecodeError as error:
        return Decoded(task, None, error.status, str(error))
    return Decoded(task, augment(pixels, content, task.view) if task.view else pixels, Status.OK)


def _read(task: Task) -> bytes | Decoded:
    if task.path is None:
        return Decoded(task, None, Status.NEVER_WRITTEN, "its image is gone")
    try:
        if not stat.S_ISREG(os.stat(task.path).st_mode):  # noqa: PTH116  # to open a FIFO would wait for ever
            return Decoded(task, None, Status.UNREADABLE, "is not a regular file")
        with open(task.path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if length > MAX_BYTES:
                return Decoded(task, None, Status.TOO_LARGE, f"{length:,} bytes, more than {MAX_BYTES:,}")
            return file.read()
    except FileNotFoundError:
        return Decoded(task, None, Status.NEVER_WRITTEN, "its image is gone")
    except OSError as error:
        return Decoded(task, None, Status.UNREADABLE, f"cannot be read: {error.strerror}")
    except ValueError as error:  # a name with a null byte
        return Decoded(task, None, Status.UNREADABLE, f"cannot be read: {error}")


def compute_rows(
    decoded: Iterable[Decoded],
    compute: Compute,
    *,
    batch_shape: tuple[int, int, int, int],
    dtype: np.dtype,
) -> Iterator[Row]:
    """Send full batches through `compute`, the last one padded; rows come out in the order of `decoded`.

    A batch is padded too where `MAX_WAITING` batches of images have not filled it, so that images
    without pixels are not kept waiting without end.

    Parameters
    ----------
    compute : callable
        ndarray of `batch_shape`, float32 -> ndarray of shape (batch, ...), float32.
    dtype : dtype
        What the features are to be stored in; a row that it cannot hold is NOT_FINITE.
    """
    batch = np.zeros(batch_shape, np.float32)
    waiting: list[Decoded] = []
    filled = 0
    for item in decoded:
        waiting.append(item)
        if item.pixels is not None:
            batch[filled] = item.pixels
            filled += 1
        if filled == len(batch) or len(waiting) == MAX_WAITING * len(batch):
            yield from _rows(waiting, batch, filled, compute, dtype)
            waiting, filled = [], 0
    yield from _rows(waiting, batch, filled, compute, dtype)


def _rows(items: list[Decoded], batch: np.ndarray, filled: int, compute: Compute, dtype: np.dtype) -> Iterator[Row]:
    batch[filled:] = 0
    computed = compute(batch) if filled else None
    at = 0
    for item in items:
        if item.pixels is None or computed is None:
            yield Row(item.task, None, item.status, item.reason)
            continue
        with np.errstate(over="ignore"):  # what overflows is found on the next line
            features = computed[at].astype(dtype)
        at += 1
        if np.isfinite(features).all():
            yield Row(item.task, features, Status.OK)
        else:
            yield Row(item.task, None, Status.NOT_FINITE, f"features are not finite in {dtype}")


class ImageCounter:
    """Counts the images of a step and reports each of them."""

    def __init__(self, step: str, total: int, callbacks: Callbacks):
        self.step, self.total, self.callbacks, self.done = step, total, callbacks, 0
        callbacks.progress(step, 0, total, "images")

    def advance(self) -> None:
        """One more image is done."""
        self.done += 1
        self.callbacks.progress(self.step, self.done, self.total, "images")


def write_shards(
    writer: StoreWriter, store: FeatureStore, pending: np.ndarray, rows: Iterator[Row], counter: ImageCounter
) -> None:
    """Collect rows into the pending shards and write each; images are decoded ahead meanwhile."""
    for start, stop in pending.tolist():
        features = np.zeros((stop - start, *store.feature_shape), store.dtype)
        status = np.zeros(stop - start, np.uint8)
        filled, bad = np.zeros(stop - start, bool), []
        for row in islice(rows, stop - start):
            status[row.task.row - start], filled[row.task.row - start] = row.status, True
            if row.features is None:
                bad.append(BadRow(row.task.row, int(row.status), row.reason))
                if row.task.id is not None:  # no image's any more
                    counter.callbacks.image_rejected(row.task.id, row.reason)
            else:
                features[row.task.row - start] = row.features
            counter.advance()
        if not filled.all():  # never zeros for a row that nothing was said of
            raise StoreError(f"{store.directory}: {(~filled).sum()} of rows {start} to {stop} were not computed")
        # Not in a thread of its own: a kill would cost the shard being written besides the one being computed.
        writer.put_shard(ShardContent(start, features, status, store.index.contents[start:stop]), tuple(bad))
