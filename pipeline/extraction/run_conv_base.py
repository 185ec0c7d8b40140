"""Run decoded images through the conv base, in batches of one fixed shape."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from pipeline.extraction.decode_ahead import Decoded, RowOf, Task, decode_ahead
from pipeline.images.status import Status
from pipeline.store import NO_ROW, FeatureStore

MAX_WAITING = 8  # batches: so many images, most of them without pixels, wait for one batch to be full


class Row(NamedTuple):
    """The features of a task in the store's dtype; None with status OK if the store has them."""

    task: Task
    features: np.ndarray | None
    status: Status
    reason: str = ""


def compute_tasks(
    tasks: Iterable[Task],
    store: FeatureStore,
    compute: Callable[[np.ndarray], np.ndarray],
    *,
    batch_size: int,
    workers: int | None = None,
    row_of: RowOf = lambda content: NO_ROW,
) -> Generator[Row]:
    """Decode and compute the images of tasks as those of a store, in order; close the generator to stop the threads.

    `compute` is that of `compute_rows`, `row_of` that of `decode_ahead`.
    """
    spec = store.spec
    decoded = decode_ahead(tasks, spec.decode_image, workers=workers, ahead=2 * batch_size, row_of=row_of)
    with contextlib.closing(decoded):
        yield from compute_rows(decoded, compute, batch_shape=(batch_size, *spec.height_width, 3), dtype=store.dtype)


def compute_rows(
    decoded: Iterable[Decoded],
    compute: Callable[[np.ndarray], np.ndarray],
    *,
    batch_shape: tuple[int, int, int, int],
    dtype: np.dtype,
) -> Iterator[Row]:
    """Compute decoded images in full batches of `batch_shape`, the last one padded with zeros; the order stays.

    `compute` maps a float32 batch to the float32 features of its images. A batch is also padded if
    `MAX_WAITING` batches of images have not filled it, so that images without pixels do not wait for ever.
    """
    for images in _split(decoded, batch_shape[0]):
        pixels = [image.pixels for image in images if image.pixels is not None]
        batch = np.zeros(batch_shape, np.float32)
        batch[: len(pixels)] = pixels or 0
        computed = iter(compute(batch) if pixels else ())
        for image in images:
            if image.pixels is None:
                yield Row(image.task, None, image.status, image.reason)
                continue
            with np.errstate(over="ignore"):  # an overflow gives infinity, which the next line finds
                features = next(computed).astype(dtype)
            if np.isfinite(features).all():
                yield Row(image.task, features, Status.OK)
            else:
                yield Row(image.task, None, Status.NOT_FINITE, f"features are not finite in {dtype}")


def _split(decoded: Iterable[Decoded], batch_size: int) -> Iterator[list[Decoded]]:
    """Split images into lists that fill a batch each, but for the last one."""
    images: list[Decoded] = []
    filled = 0
    for image in decoded:
        images.append(image)
        filled += image.pixels is not None
        if filled == batch_size or len(images) == MAX_WAITING * batch_size:
            yield images
            images, filled = [], 0
    yield images
