"""Run decoded images through the conv base, in batches of one fixed shape."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.extraction.decode_ahead import Decoded, Task, decode_ahead
from pipeline.images.status import Status

if TYPE_CHECKING:
    from pipeline.conv_base.load import ConvBase

MAX_WAITING = 8  # batches: so many images, most of them without pixels, wait for one batch to be full


class Row(NamedTuple):
    """The features of a task in the store's dtype; None with status OK if the store has them."""

    task: Task
    features: np.ndarray | None
    status: Status
    reason: str = ""


def compute_tasks(
    tasks: Iterable[Task], conv_base: ConvBase, dtype: np.dtype, *, batch_size: int, workers: int | None = None
) -> Generator[Row]:
    """Decode and compute the images of tasks, in order; close the generator to stop the threads that decode."""
    size, resize = conv_base.spec.height_width, conv_base.spec.resize
    with contextlib.closing(decode_ahead(tasks, size, resize, workers=workers, ahead=2 * batch_size)) as decoded:
        yield from compute_rows(decoded, conv_base.compute, batch_shape=(batch_size, *size, 3), dtype=dtype)


def compute_rows(
    decoded: Iterable[Decoded],
    compute: Callable[[np.ndarray], np.ndarray],
    *,
    batch_shape: tuple[int, int, int, int],
    dtype: np.dtype,
) -> Iterator[Row]:
    """Compute decoded images in full batches, the last one padded with zeros; the order stays.

    A batch is also padded if `MAX_WAITING` batches of images have not filled it, so that images
    without pixels do not wait for ever.

    Parameters
    ----------
    decoded : iterable of Decoded
    compute : callable
        Maps an ndarray of `batch_shape`, float32, to one of shape (batch, ...), float32.
    batch_shape : tuple of int
        (batch, height, width, 3).
    dtype : dtype
        The dtype of the stored features; a row that overflows it has the status NOT_FINITE.
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
