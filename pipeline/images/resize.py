"""Bilinear resizing in numpy: what TensorFlow computes, for images that need not be in memory as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

RESIZES = ("bilinear", "antialias")
BLOCK_PIXELS = 200_000  # read and resized at a time; a usual photo is one block


def stretch(
    read: Callable[[int, int], np.ndarray], source: tuple[int, int], size: tuple[int, int], *, antialias: bool
) -> np.ndarray:
    """Stretch an image to a size, to the values of `tf.image.resize` with method bilinear.

    Parameters
    ----------
    read : callable
        `read(top, bottom)` gives rows top to bottom - 1 of the source, ndarray of shape
        (rows, width, 3); it is asked for about `BLOCK_PIXELS` at a time.
    source, size : (int, int)
        Height and width in pixels of what there is and of the result.
    antialias : bool
        Where the image shrinks, weigh all of the source instead of two taps an axis.

    Returns
    -------
    ndarray of shape (*size, 3), float32
    """
    height, width = size
    down, across = _taps(source[0], height, antialias), _taps(source[1], width, antialias)
    columns = (3 * across.first[:, None] + np.arange(3)).ravel()  # of a row's RGB values side by side
    weights = np.repeat(across.weights, 3, axis=1)
    result = np.empty((height, width * 3), np.float32)
    for part in _parts(down, BLOCK_PIXELS // max(source[1], width)):
        rows = _stretched_rows(read, source[1], down.first[part], down.weights[:, part, None])
        total = np.take(rows, columns, axis=1) * weights[0]
        for tap in range(1, len(weights)):
            total += np.take(rows, columns + 3 * tap, axis=1) * weights[tap]
        result[part] = total
    return result.reshape(height, width, 3)


class _Taps(NamedTuple):
    """Along one axis, output i is the sum over t of weights[t, i] * source[first[i] + t]."""

    first: np.ndarray  # (outputs,), never falling
    weights: np.ndarray  # (taps, outputs), float32


def _taps(source: int, outputs: int, antialias: bool) -> _Taps:
    """A triangle that reaches one source pixel to each side; with antialias one output pixel, if that is more.

    Half-pixel centres, in float32 as in TensorFlow's `resize_bilinear_op` and `scale_and_translate_op`.
    """
    scale, reach = np.float32(source) / np.float32(outputs), np.float32(1)
    if antialias:
        scale = np.float32(1) / (np.float32(outputs) / np.float32(source))  # not always the same number
        reach = max(scale, reach)
    centres = (np.arange(outputs, dtype=np.float32) + np.float32(0.5)) * scale
    taps = min(2 * int(np.ceil(reach)) + antialias, source)
    first = np.clip(np.ceil(centres - reach - np.float32(0.5)).astype(np.intp), 0, source - taps)
    middles = (first + np.arange(taps)[:, None]).astype(np.float32) + np.float32(0.5)
    weights = np.maximum(1 - np.abs(middles - centres) / reach, 0)
    return _Taps(first, weights / weights.sum(axis=0))


def _parts(taps: _Taps, most: int) -> Iterator[slice]:
    """Cut the outputs into parts of at most `most`, each from at most `most` of the source, or single ones."""
    start = 0
    while start < len(taps.first):
        fitting = np.searchsorted(taps.first, taps.first[start] + most - len(taps.weights), side="right")
        stop = max(start + 1, min(int(fitting), start + most))
        yield slice(start, stop)
        start = stop


def _stretched_rows(
    read: Callable[[int, int], np.ndarray], width: int, first: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Some rows of the result at the source's own width, (rows, width * 3)."""
    most, stop = max(1, BLOCK_PIXELS // width), int(first[-1]) + len(weights)
    total = np.zeros((len(first), width * 3), np.float32)
    for tap in range(len(weights)):
        if tap % most == 0:  # more than once only for a single row
            start = int(first[0]) + tap
            block = read(start, min(start + most, stop)).reshape(-1, width * 3)
        total += block[first + tap - start] * weights[tap]
    return total
