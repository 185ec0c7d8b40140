"""Decode images and run them through the conv base, in batches or each in the thread that decodes it."""

import contextlib
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from pipeline.extraction.decode_ahead import Decoded, RowOf, Task, decode_ahead
from pipeline.images.status import Status
from pipeline.store import NO_ROW, StoreLayout

MAX_WAITING = 8  # batches: so many images, most of them without pixels, wait for one batch to be full
Compute = Callable[[np.ndarray], np.ndarray]  # from a float32 batch to the float32 features of its images


class Row(NamedTuple):
    """The features of a task in the store's dtype; None with status OK if the store has them."""

    task: Task
    features: np.ndarray | None
    status: Status
    reason: str = ""


def compute_tasks(
    tasks: Iterable[Task],
    store: StoreLayout,
    compute: Compute,
    *,
    batch_size: int,
    workers: int | None = None,
    row_of: RowOf = lambda content: NO_ROW,
    stops: Collection[int] = (),
) -> Generator[Row]:
    """Decode and compute the images of tasks as those of a store, in order; close the generator to stop the threads.

    If the store's precision is int8, `compute` is called in the threads that decode, with one image each time. If
    not, it is called in this thread with batches of one shape, see `compute_batches`. `row_of` is that of
    `decode_ahead`.
    """

    def compute_row(image: Decoded) -> Row:
        return _make_row(image, None if image.pixels is None else compute(image.pixels[None])[0], store.dtype)

    spec, is_int8 = store.spec, store.spec.precision == "int8"
    results = decode_ahead(
        tasks,
        spec.decode_image,
        workers=workers,
        ahead=2 * batch_size,
        row_of=row_of,
        then=compute_row if is_int8 else lambda image: image,
    )
    with contextlib.closing(results):
        batch_shape = (batch_size, *spec.pixel_shape)
        yield from results if is_int8 else compute_batches(results, compute, batch_shape, store.dtype, stops)


def compute_batches(
    decoded: Iterable[Decoded],
    compute: Compute,
    batch_shape: tuple[int, ...],
    dtype: np.dtype,
    stops: Collection[int] = (),
) -> Iterator[Row]:
    """Compute decoded images in full batches of `batch_shape`, the last one padded with zeros; the order stays.

    A batch is also padded if `MAX_WAITING` batches of images have not filled it, so that images without pixels do
    not wait for ever, and if it would contain rows before and after one of the `stops`.
    """
    for images in _split(decoded, batch_shape[0], stops):
        pixels = [image.pixels for image in images if image.pixels is not None]
        batch = np.zeros(batch_shape, np.float32)
        batch[: len(pixels)] = pixels or 0
        computed = iter(compute(batch) if pixels else ())
        for image in images:
            yield _make_row(image, None if image.pixels is None else next(computed), dtype)


def _split(decoded: Iterable[Decoded], batch_size: int, stops: Collection[int]) -> Iterator[list[Decoded]]:
    """Split images into lists that fill a batch each, but for the last one and those that end at a stop."""
    images: list[Decoded] = []
    filled = 0
    for image in decoded:
        images.append(image)
        filled += image.pixels is not None
        if filled == batch_size or len(images) == MAX_WAITING * batch_size or image.task.row + 1 in stops:
            yield images
            images, filled = [], 0
    yield images


def _make_row(image: Decoded, features: np.ndarray | None, dtype: np.dtype) -> Row:
    """Return the row of an image in the store's dtype, given its features in float32, None if it has no pixels."""
    if features is None:
        return Row(image.task, None, image.status, image.reason)
    with np.errstate(over="ignore"):  # an overflow gives infinity, which the next line finds
        features = features.astype(dtype)
    if np.isfinite(features).all():
        return Row(image.task, features, Status.OK)
    return Row(image.task, None, Status.NOT_FINITE, f"features are not finite in {dtype}")
