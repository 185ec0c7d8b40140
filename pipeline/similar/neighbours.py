"""Rows of features that are nearly equal: every pair is compared, in blocks, exactly."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pipeline.heads.rows import Rows

BLOCK = 2048  # rows compared at a time: 16 MiB of cosines
MOST = 10  # neighbours that a row is given

OnProgress = Callable[[str, int, int], None]


class Candidates(NamedTuple):
    """Pairs of rows.

    Attributes
    ----------
    rows : ndarray of shape (p, 2), int64
        The smaller one first.
    similarity : ndarray of shape (p,), float32
        Cosine.
    """

    rows: np.ndarray
    similarity: np.ndarray


def near_rows(X: Rows, threshold: float, on_progress: OnProgress = lambda what, done, total: None) -> Candidates:
    """The pairs of rows whose cosine is `threshold` or more.

    Rows are average-pooled and standardised: raw ones are all alike, as their numbers are never
    negative, and a few large channels would decide. Of each row at most `MOST` pairs with later rows
    are kept, the nearest; rows that are all alike stay connected.

    Parameters
    ----------
    X : Rows of shape (n, height, width, channels) or (n, d), any float
        Read once. Memory does not grow with n but for a few numbers a row; pooled rows lie in a
        temporary file, 4 * n * d bytes.
    threshold : float
    on_progress : callable
        Called as `on_progress(what, done, total)` with `rows` read, then with `pairs` compared.
    """
    if len(X) < 2:
        return _joined([])
    with tempfile.TemporaryFile() as file:
        block_of = _pooled(X, file, on_progress)
        parts = []
        for start in range(0, len(X), BLOCK):
            parts.append(_nearest(_later_neighbours(block_of, start, len(X), threshold)))
            left = max(0, len(X) - start - BLOCK)
            on_progress("pairs", (len(X) ** 2 - left**2) // 2, len(X) ** 2 // 2)
    return _joined(parts)


def seconds_to_compare(n: int, width: int) -> float:
    """How long `near_rows` will compare n rows of `width` pooled numbers, from a measurement of a moment."""
    few = np.ones((min(n, BLOCK), width), np.float32)
    start = time.perf_counter()
    np.count_nonzero(few @ few.T >= 2)
    return (time.perf_counter() - start) / max(len(few), 1) ** 2 * n**2 / 2


def _pooled(X: Rows, file: IO[bytes], on_progress: OnProgress) -> Callable[[int], np.ndarray]:
    """Pool all rows into `file`; returns what gives a block of them, standardised, of length 1."""
    from sklearn.preprocessing import StandardScaler, normalize

    from pipeline.heads.pooling import Pool
    from pipeline.heads.rows import row_blocks

    pool, scaler, done = Pool("avg"), StandardScaler(), 0
    for block in row_blocks(X):
        pooled = pool.fit_transform(block).astype(np.float32, copy=False)
        scaler.partial_fit(pooled)
        file.write(pooled.tobytes())
        done += len(block)
        on_progress("rows", done, len(X))
    file.flush()
    numbers = np.memmap(file, np.float32, "r", shape=(len(X), pool.width(X.shape[1:])))
    return lambda start: normalize(scaler.transform(numbers[start : start + BLOCK]), copy=False)


def _later_neighbours(
    block_of: Callable[[int], np.ndarray], start: int, n: int, threshold: float
) -> Iterator[Candidates]:
    """Pairs of the rows of the block at `start` with later rows, a part for each block of those."""
    rows = block_of(start)
    for other in range(start, n, BLOCK):
        cosines = rows @ (rows if other == start else block_of(other)).T  # (BLOCK, BLOCK)
        near = cosines >= threshold
        if other == start:
            near = np.triu(near, 1)
        if near.any():
            pair = np.nonzero(near)
            rows_of_pair = np.stack(pair, axis=1) + np.array([start, other])
            yield _nearest([Candidates(rows_of_pair, cosines[pair])])


def _nearest(parts: Iterator[Candidates] | list[Candidates]) -> Candidates:
    """Of each first row, the `MOST` most similar pairs."""
    rows, similarity = _joined(list(parts))
    order = np.lexsort((rows[:, 1], -similarity, rows[:, 0]))
    firsts = rows[order, 0]
    place = np.arange(len(firsts)) - np.searchsorted(firsts, firsts)  # 0 is the nearest of its row
    kept = order[place < MOST]
    return Candidates(rows[kept], similarity[kept])


def _joined(parts: list[Candidates]) -> Candidates:
    none = Candidates(np.empty((0, 2), np.int64), np.empty(0, np.float32))
    rows, similarity = zip(none, *parts, strict=True)
    return Candidates(np.concatenate(rows), np.minimum(np.concatenate(similarity), 1))
