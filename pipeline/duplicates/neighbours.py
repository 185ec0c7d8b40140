"""Rows of features that are nearly equal, and whose pictures are: every pair is compared, in blocks, exactly."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import IO, NamedTuple

import numpy as np

from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.heads.lazy_rows import Rows

BLOCK = 2048  # rows compared at a time: 16 MiB of cosines
MAX = 10  # pairs of a row with later ones that are listed, besides those that hold a group together


class Candidates(NamedTuple):
    """Pairs of rows.

    Attributes
    ----------
    rows : ndarray of shape (p, 2), int64
        The smaller one first.
    similarity : ndarray of shape (p,), float32
        Cosine.
    pixels : ndarray of shape (p,), float32
        Correlation of the pictures; NaN where they were not looked at.
    """

    rows: np.ndarray
    similarity: np.ndarray
    pixels: np.ndarray

    def take(self, some: np.ndarray) -> Candidates:
        """Some of them, by a mask or by numbers."""
        return Candidates(*(column[some] for column in self))


Look = Callable[[Candidates], Candidates]
NONE = Candidates(np.empty((0, 2), np.int64), np.empty(0, np.float32), np.empty(0, np.float32))


def near_rows(
    X: Rows,
    threshold: float,
    look: Look = lambda near: near,
    callbacks: Callbacks = SILENT,
) -> Candidates:
    """The pairs of rows whose cosine is `threshold` or more and that `look` lets pass.

    Rows are average-pooled and standardised: raw ones are all alike, as their numbers are never
    negative, and a few large channels would decide. Every near pair is looked at. Of those that pass,
    not all are kept where many rows are alike: of each row the `MAX` most similar ones with later
    rows, and a spanning forest, so that rows which are connected by pairs stay so.

    Parameters
    ----------
    X : Rows of shape (n, height, width, channels) or (n, d), any float
        Read once. Memory does not grow with n but for a few numbers a row; pooled rows lie in a
        temporary file, 4 * n * d bytes.
    threshold : float
    look : callable
        From the near pairs of two blocks, at most `BLOCK` ** 2, to those of them that count.
    callbacks : Callbacks, optional
    """
    found, done, total = NONE, 0, len(X) * (len(X) - 1) // 2
    if not total:
        return found
    with tempfile.TemporaryFile() as file:
        block_of = _pooled(X, file, callbacks)
        callbacks.progress("comparing", done, total, "pairs")  # the clock starts here
        for start in range(0, len(X), BLOCK):
            rows, parts = block_of(start), []
            for other in range(start, len(X), BLOCK):
                others = rows if other == start else block_of(other)
                parts.append(_thinned(look(_near(rows, others, start, other, threshold))))
                done += len(rows) * (len(rows) - 1) // 2 if other == start else len(rows) * len(others)
                callbacks.progress("comparing", done, total, "pairs")
            found = _thinned(_joined([found, *parts]))
    return found


def seconds_to_compare(n: int, width: int) -> float:
    """How long `near_rows` will compare n rows of `width` pooled numbers, from a measurement of a moment."""
    few = np.ones((min(n, BLOCK), width), np.float32)
    start = time.perf_counter()
    np.count_nonzero(few @ few.T >= 2)
    return (time.perf_counter() - start) / max(len(few), 1) ** 2 * n**2 / 2


def _pooled(X: Rows, file: IO[bytes], callbacks: Callbacks) -> Callable[[int], np.ndarray]:
    """Pool all rows into `file`; returns what gives a block of them, standardised, of length 1."""
    from sklearn.preprocessing import StandardScaler, normalize

    from pipeline.heads.lazy_rows import row_blocks
    from pipeline.heads.pooling import Pool

    pool, scaler, done = Pool("avg"), StandardScaler(), 0
    callbacks.progress("reading", done, len(X), "rows")
    for block in row_blocks(X):
        pooled = pool.fit_transform(block).astype(np.float32, copy=False)
        scaler.partial_fit(pooled)
        file.write(pooled.tobytes())
        done += len(block)
        callbacks.progress("reading", done, len(X), "rows")
    file.flush()
    numbers = np.memmap(file, np.float32, "r", shape=(len(X), pool.width(X.shape[1:])))
    return lambda start: normalize(scaler.transform(numbers[start : start + BLOCK]), copy=False)


def _near(rows: np.ndarray, others: np.ndarray, start: int, other: int, threshold: float) -> Candidates:
    """Near pairs of a block of rows at `start` with one at `other`, which is the same or a later one."""
    cosines = rows @ others.T  # (BLOCK, BLOCK)
    near = cosines >= threshold
    pairs = np.nonzero(np.triu(near, 1) if other == start else near)
    places = np.stack(pairs, axis=1) + np.array([start, other])
    return Candidates(places, np.minimum(cosines[pairs], 1), np.full(len(places), np.nan, np.float32))


def _thinned(found: Candidates) -> Candidates:
    """Of each first row the `MAX` most similar pairs, and a spanning forest of all, the most similar one."""
    order = np.lexsort((found.rows[:, 1], -found.similarity, found.rows[:, 0]))
    firsts = found.rows[order, 0]
    place = np.arange(len(firsts)) - np.searchsorted(firsts, firsts)  # 0 is the nearest of its row
    if not (place >= MAX).any():
        return found
    kept = _spanning_forest(found)
    kept[order[place < MAX]] = True
    return found.take(kept)


def _spanning_forest(found: Candidates) -> np.ndarray:
    """Which pairs make the most similar spanning forest, ndarray of shape (p,), bool."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    names, ends = np.unique(found.rows, return_inverse=True)
    first, second = ends.reshape(found.rows.shape).T
    distance = 3 - found.similarity.astype(np.float64)  # from 2 to 4: an edge of 0 would be none
    forest = minimum_spanning_tree(coo_array((distance, (first, second)), shape=(len(names),) * 2).tocsr()).tocoo()
    return np.isin(first * len(names) + second, forest.row.astype(np.int64) * len(names) + forest.col)


def _joined(parts: list[Candidates]) -> Candidates:
    return Candidates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
