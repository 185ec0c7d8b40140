"""Bilinear resizing in numpy, with the values of TensorFlow, for images read a part at a time."""

from collections.abc import Callable, Iterator

import numpy as np

RESIZES = ("bilinear", "antialias")
BLOCK_PIXELS = 200_000  # pixels read and resized at a time; most photos are one block
ReadRows = Callable[[int, int], np.ndarray]  # returns rows top to bottom - 1 of the source, (rows, width, 3)


def stretch(read: ReadRows, source: tuple[int, int], size: tuple[int, int], *, antialias: bool) -> np.ndarray:
    """Resize an image to (*size, 3), float32, with the values of `tf.image.resize` with method bilinear.

    `source` and `size` are height and width of the source and of the result. `read` is called for about `BLOCK_PIXELS`
    pixels at a time. With `antialias`, every pixel of a source that shrinks has a weight, instead of two per axis.
    """
    height, width = size
    first_rows, row_weights = _taps(source[0], height, antialias)
    first_columns, column_weights = _taps(source[1], width, antialias)
    columns = (3 * first_columns[:, None] + np.arange(3)).ravel()  # in a row of RGB values side by side
    weights = np.repeat(column_weights, 3, axis=1)
    result = np.empty((height, width * 3), np.float32)
    for part in _parts(first_rows, len(row_weights), BLOCK_PIXELS // max(source[1], width)):
        rows = _stretched_rows(read, source[1], first_rows[part], row_weights[:, part, None])
        total = np.multiply(np.take(rows, columns, axis=1), weights[0], out=result[part])
        for tap in range(1, len(weights)):
            taken = np.take(rows, columns + 3 * tap, axis=1)
            taken *= weights[tap]
            total += taken
    return result.reshape(height, width, 3)


def _taps(source: int, outputs: int, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return first (outputs,) and weights (taps, outputs), float32, of a triangle filter with half-pixel centres.

    Along one axis, output i is the sum over t of weights[t, i] * source[first[i] + t]; first does not decrease.
    The triangle reaches one source pixel to each side; with antialias one output pixel, if that is more.
    All is float32, as in TensorFlow's `resize_bilinear_op` and `scale_and_translate_op`.
    """
    scale, reach = np.float32(source) / np.float32(outputs), np.float32(1)
    if antialias:
        scale = np.float32(1) / (np.float32(outputs) / np.float32(source))  # rounded twice, as in TensorFlow
        reach = max(scale, reach)
    centres = (np.arange(outputs, dtype=np.float32) + np.float32(0.5)) * scale
    taps = min(2 * int(np.ceil(reach)) + antialias, source)
    first = np.clip(np.ceil(centres - reach - np.float32(0.5)).astype(np.intp), 0, source - taps)
    middles = (first + np.arange(taps)[:, None]).astype(np.float32) + np.float32(0.5)
    weights = np.maximum(1 - np.abs(middles - centres) / reach, 0)
    return first, weights / weights.sum(axis=0)


def _parts(first: np.ndarray, taps: int, max_rows: int) -> Iterator[slice]:
    """Cut the outputs into parts that have, and need of the source, at most `max_rows`; a part may be one row."""
    start = 0
    while start < len(first):
        fitting = np.searchsorted(first, first[start] + max_rows - taps, side="right")
        stop = max(start + 1, min(int(fitting), start + max_rows))
        yield slice(start, stop)
        start = stop


def _stretched_rows(read: ReadRows, width: int, first: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return some rows of the result, not yet resized along the width: (rows, width * 3)."""
    max_rows, stop = max(1, BLOCK_PIXELS // width), int(first[-1]) + len(weights)
    total = np.zeros((len(first), width * 3), np.float32)
    product = np.empty_like(total)  # one array for all products: large ones are slow to allocate
    for tap in range(len(weights)):
        if tap % max_rows == 0:  # happens more than once only for a single row
            start = int(first[0]) + tap
            block = read(start, min(start + max_rows, stop)).reshape(-1, width * 3)
        total += np.multiply(block[first + tap - start], weights[tap], out=product)
    return total
