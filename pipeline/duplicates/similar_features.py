"""Pairs of rows with similar features: all pairs are compared, in blocks, without approximation."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import IO, NamedTuple

import numpy as np

from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.heads.rows_on_demand import Rows

BLOCK_ROWS = 2048  # rows compared at a time: 16 MiB of cosines
MAX_PAIRS = 10  # listed pairs of a row with later rows, besides those that hold a group together


class RowPairs(NamedTuple):
    """Pairs of rows."""

    rows: np.ndarray  # (p, 2), int64; the smaller row first
    similarity: np.ndarray  # (p,), float32; cosine of the two rows
    pixels: np.ndarray  # (p,), float32; correlation of the two pictures, NaN where they were not compared

    def take(self, chosen: np.ndarray) -> RowPairs:
        """Return the pairs that a mask or indices choose."""
        return RowPairs(*(column[chosen] for column in self))


NO_PAIRS = RowPairs(np.empty((0, 2), np.int64), np.empty(0, np.float32), np.empty(0, np.float32))


def similar_rows(
    X: Rows,
    threshold: float,
    accept: Callable[[RowPairs], RowPairs] = lambda pairs: pairs,
    callbacks: Callbacks = SILENT,
) -> RowPairs:
    """Find the pairs of rows whose cosine is `threshold` or more and that `accept` returns.

    Rows are average-pooled and standardised. Without standardisation all rows would be similar, as
    their numbers are never negative, and a few large channels would decide. Where many rows are
    similar, not all accepted pairs are returned: of each row the `MAX_PAIRS` most similar ones with
    later rows, and a spanning forest, so that rows which pairs connect stay connected.

    Parameters
    ----------
    X : Rows of shape (n, height, width, channels) or (n, d), any float
        Read once. Memory grows with n by a few numbers per row only; pooled rows lie in a temporary
        file of 4 * n * d bytes.
    accept : callable
        Takes the similar pairs of two blocks, at most `BLOCK_ROWS` ** 2, and returns some of them.
    """
    result, done, total = NO_PAIRS, 0, len(X) * (len(X) - 1) // 2
    if not total:
        return result
    with tempfile.TemporaryFile() as file:
        read_block = _pool_rows(X, file, callbacks)
        callbacks.progress("comparing", done, total, "pairs")  # the clock starts here
        for start in range(0, len(X), BLOCK_ROWS):
            block, parts = read_block(start), [result]
            for other_start in range(start, len(X), BLOCK_ROWS):
                other = block if other_start == start else read_block(other_start)
                parts.append(_limit_pairs(accept(_similar_pairs(block, other, start, other_start, threshold))))
                done += len(block) * (len(block) - 1) // 2 if other_start == start else len(block) * len(other)
                callbacks.progress("comparing", done, total, "pairs")
            result = _limit_pairs(RowPairs(*map(np.concatenate, zip(*parts, strict=True))))
    return result


def seconds_to_compare(n: int, width: int) -> float:
    """Estimate the seconds that `similar_rows` takes to compare n rows of `width` pooled numbers, by a short test."""
    rows = np.ones((min(n, BLOCK_ROWS), width), np.float32)
    start = time.perf_counter()
    np.count_nonzero(rows @ rows.T >= 2)
    return (time.perf_counter() - start) / max(len(rows), 1) ** 2 * n**2 / 2


def _pool_rows(X: Rows, file: IO[bytes], callbacks: Callbacks) -> Callable[[int], np.ndarray]:
    """Pool all rows into `file`; return a function that reads a block of them, standardised and of length 1."""
    from sklearn.preprocessing import StandardScaler, normalize

    from pipeline.heads.pooling import Pool
    from pipeline.heads.rows_on_demand import row_blocks

    pool, scaler, done = Pool("avg"), StandardScaler(), 0
    callbacks.progress("reading", done, len(X), "rows")
    for block in row_blocks(X):
        pooled = pool.fit_transform(block).astype(np.float32, copy=False)
        scaler.partial_fit(pooled)
        file.write(pooled.tobytes())
        done += len(block)
        callbacks.progress("reading", done, len(X), "rows")
    file.flush()
    rows = np.memmap(file, np.float32, "r", shape=(len(X), pool.width(X.shape[1:])))
    return lambda start: normalize(scaler.transform(rows[start : start + BLOCK_ROWS]), copy=False)


def _similar_pairs(block: np.ndarray, other: np.ndarray, start: int, other_start: int, threshold: float) -> RowPairs:
    """Return the similar pairs of a block of rows with another block, which is the same one or a later one."""
    cosines = block @ other.T  # (BLOCK_ROWS, BLOCK_ROWS)
    similar = cosines >= threshold
    indices = np.nonzero(np.triu(similar, 1) if other_start == start else similar)
    rows = np.stack(indices, axis=1) + np.array([start, other_start])
    return RowPairs(rows, np.minimum(cosines[indices], 1), np.full(len(rows), np.nan, np.float32))


def _limit_pairs(pairs: RowPairs) -> RowPairs:
    """Return the `MAX_PAIRS` most similar pairs of each first row, and the most similar spanning forest of all."""
    order = np.lexsort((pairs.rows[:, 1], -pairs.similarity, pairs.rows[:, 0]))
    firsts = pairs.rows[order, 0]
    rank = np.arange(len(firsts)) - np.searchsorted(firsts, firsts)  # 0 is the most similar pair of its first row
    if not (rank >= MAX_PAIRS).any():
        return pairs
    chosen = _spanning_forest(pairs)
    chosen[order[rank < MAX_PAIRS]] = True
    return pairs.take(chosen)


def _spanning_forest(pairs: RowPairs) -> np.ndarray:
    """Return which pairs form the most similar spanning forest, ndarray of shape (p,), bool."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    nodes, ends = np.unique(pairs.rows, return_inverse=True)
    first, second = ends.reshape(pairs.rows.shape).T
    distance = 3 - pairs.similarity.astype(np.float64)  # from 2 to 4, as an edge of 0 is no edge to scipy
    forest = minimum_spanning_tree(coo_array((distance, (first, second)), shape=(len(nodes),) * 2).tocsr()).tocoo()
    return np.isin(first * len(nodes) + second, forest.row.astype(np.int64) * len(nodes) + forest.col)
