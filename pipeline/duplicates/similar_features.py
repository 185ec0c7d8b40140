"""Pairs of rows with similar features: all pairs are compared, in blocks, without approximation."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import IO, NamedTuple

import numpy as np

from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.cores import available_cores
from pipeline.heads.rows_on_demand import Rows, row_blocks

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


class Blocks(NamedTuple):
    """A block of rows, and the blocks that it is compared with: itself and later ones, given by their first rows."""

    start: int
    others: range

    def part(self, first: int, stop: int) -> Blocks:
        """Return the same block with some of the others."""
        return Blocks(self.start, self.others[first:stop])

    def count_pairs(self, n: int) -> int:
        """Return the number of pairs of rows to compare, where there are n rows."""
        size = min(self.others.step, n - self.start)
        sizes = (min(self.others.step, n - other) for other in self.others if other != self.start)
        return size * sum(sizes) + (size * (size - 1) // 2 if self.start in self.others else 0)


def list_blocks(n: int, group: int) -> Iterator[Blocks]:
    """List all pairs of blocks of n rows, at most `group` of the same first block together."""
    for start in range(0, n, BLOCK_ROWS):
        blocks = Blocks(start, range(start, n, BLOCK_ROWS))
        yield from (blocks.part(i, i + group) for i in range(0, len(blocks.others), group))


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
        Takes the similar pairs of two blocks, at most `BLOCK_ROWS` ** 2, and returns some of them. Several threads
        call it.
    """
    n, done = len(X), 0
    if n < 2:
        return NO_PAIRS
    with tempfile.TemporaryFile() as file:
        callbacks.progress("reading", done, n, "rows")
        for block in row_blocks(X):
            file.write(pool_rows(block).tobytes())
            done += len(block)
            callbacks.progress("reading", done, n, "rows")
        rows = standardise_rows(file, n, callbacks)
        return merge_pairs(_compare_in_turn(rows, threshold, accept, callbacks))


def _compare_in_turn(
    rows: np.ndarray, threshold: float, accept: Callable[[RowPairs], RowPairs], callbacks: Callbacks
) -> Iterator[tuple[Blocks, RowPairs]]:
    n, done = len(rows), 0
    callbacks.progress("comparing", done, n * (n - 1) // 2, "pairs")  # the clock starts here
    for blocks in list_blocks(n, n):
        for other, pairs in enumerate(compare_blocks(rows, blocks, threshold, accept, available_cores())):
            yield blocks, pairs
            done += blocks.part(other, other + 1).count_pairs(n)
            callbacks.progress("comparing", done, n * (n - 1) // 2, "pairs")


def pool_rows(X: Rows) -> np.ndarray:
    """Return rows of features averaged over height and width, ndarray of shape (n, d), float32."""
    from pipeline.heads.pooling import Pool

    return Pool("avg").fit_transform(X).astype(np.float32, copy=False)


def standardise_rows(file: IO[bytes], n: int, callbacks: Callbacks) -> np.ndarray:
    """Standardise the n pooled rows in a file, and scale each to length 1; return them as a memory map (n, d)."""
    from sklearn.preprocessing import StandardScaler, normalize

    file.flush()
    rows, scaler = np.memmap(file, np.float32, "r").reshape(n, -1), StandardScaler()
    starts = range(0, n, BLOCK_ROWS)
    callbacks.progress("standardising", 0, n, "rows")
    for start in starts:
        scaler.partial_fit(rows[start : start + BLOCK_ROWS])
    for start in starts:
        block = normalize(scaler.transform(rows[start : start + BLOCK_ROWS]), copy=False)
        file.seek(start * 4 * rows.shape[1])
        file.write(block.tobytes())  # not through a memory map: a full disk would kill the process
        callbacks.progress("standardising", start + len(block), n, "rows")
    file.flush()
    return rows


def compare_blocks(
    rows: np.ndarray, blocks: Blocks, threshold: float, accept: Callable[[RowPairs], RowPairs], threads: int
) -> Iterator[RowPairs]:
    """Yield the accepted pairs of a block of standardised rows (n, d) with each of some others.

    `accept` is called from several threads.
    """
    from threadpoolctl import threadpool_limits

    step = blocks.others.step
    block = np.array(rows[blocks.start : blocks.start + step])

    def compare(start: int) -> RowPairs:
        other = block if start == blocks.start else np.array(rows[start : start + step])
        return _limit_pairs(accept(_similar_pairs(block, other, blocks.start, start, threshold)))

    # The last bits of a product of matrices depend on the number of threads that compute it, so each is left to one.
    with threadpool_limits(1), ThreadPoolExecutor(threads, thread_name_prefix="compare") as pool:
        yield from pool.map(compare, blocks.others)


def merge_pairs(parts: Iterable[tuple[Blocks, RowPairs]]) -> RowPairs:
    """Return the pairs of all blocks, which come in the order of `list_blocks`."""
    result = NO_PAIRS
    for _, of_block in groupby(parts, key=lambda part: part[0].start):
        columns = zip(result, *(pairs for _, pairs in of_block), strict=True)
        result = _limit_pairs(RowPairs(*map(np.concatenate, columns)))
    return result


def seconds_to_compare(n: int, width: int) -> float:
    """Estimate the seconds that `similar_rows` takes to compare n rows of `width` pooled numbers, by a short test."""
    rows = np.ones((min(n, BLOCK_ROWS), width), np.float32)
    start = time.perf_counter()
    np.count_nonzero(rows @ rows.T >= 2)
    return (time.perf_counter() - start) / max(len(rows), 1) ** 2 * n**2 / 2


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
