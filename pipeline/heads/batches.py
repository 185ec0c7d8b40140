"""The order of the rows in an epoch, and the rows read from disk ahead of their use."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from pipeline.heads.rows_on_demand import Rows, bytes_per_row

MAX_STEPS = 64  # steps of one compiled call; Ctrl-C takes effect at its end
CALL_BYTES = 2**24  # features that one compiled call takes
READ_BYTES = 2**27  # features that are read from disk at a time and shuffled together
RUN_BYTES = 2**21  # neighbouring rows that are read together


class LabelledRows(NamedTuple):
    """Features and the targets of a network."""

    X: Rows  # features of shape (m, ...), of which `rows` are used
    rows: np.ndarray  # (n,), int: row numbers in X, which training shuffles
    targets: np.ndarray  # probability of the second class, (m, 1), float32, or number of the class, (m,), int64
    weights: np.ndarray  # (m,), float32: weight of each row in the loss
    images: np.ndarray | None = None  # (m,), int64: equal where rows are views of one image; an epoch draws one of them


def draw_views(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a random view of each image; the result is a mask of rows, ndarray of shape (n,), bool."""
    order = np.lexsort((rng.random(len(images)), images))
    drawn = np.zeros(len(images), bool)
    drawn[order[np.flatnonzero(np.diff(images[order], prepend=-1))]] = True
    return drawn


def shuffle_rows(X: Rows, batch_size: int, rng: np.random.Generator, drawn: np.ndarray | None = None) -> np.ndarray:
    """Return the row numbers of X, or of the mask `drawn`, in a new random order, ndarray of shape (n,), int64.

    Rows of an array are shuffled freely. Rows on disk are shuffled on two levels, because reading
    them in any order is a hundred times slower: first runs of neighbouring rows, then the rows of
    all runs that are read together, about 64. Where X fits into one reading this is any order, too.
    """
    n = len(X)
    if isinstance(X, np.ndarray):
        return rng.permutation(n if drawn is None else np.flatnonzero(drawn))
    run, read = max(1, RUN_BYTES // bytes_per_row(X)), _whole_batches(READ_BYTES, X, batch_size)
    starts = rng.permutation(np.arange(0, n, run))
    order = np.concatenate([np.arange(start, min(start + run, n)) for start in starts])
    order = order if drawn is None else order[drawn[order]]
    for start in range(0, len(order), read):
        rng.shuffle(order[start : start + read])
    return order


def read_batches(
    X: Rows, rows: np.ndarray, batch_size: int, max_steps: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield row numbers and their features, as many whole batches as one call takes, at most `max_steps` or 64.

    Another thread reads ahead, so that memory holds up to two readings.
    """
    call = min((max_steps or MAX_STEPS) * batch_size, _whole_batches(CALL_BYTES, X, batch_size))
    read = call if isinstance(X, np.ndarray) else _whole_batches(READ_BYTES, X, batch_size)
    readings = [rows[start : start + read] for start in range(0, len(rows), read)]
    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(X.__getitem__, reading) for reading in readings[:1]]
        for i, reading in enumerate(readings, start=1):
            features = ahead.pop().result()
            ahead = [reader.submit(X.__getitem__, following) for following in readings[i : i + 1]]
            for start in range(0, len(reading), call):
                yield reading[start : start + call], features[start : start + call]


def _whole_batches(size: int, X: Rows, batch_size: int) -> int:
    """Return how many rows of X fit into `size` bytes, in whole batches, one batch at least."""
    return max(1, size // (batch_size * bytes_per_row(X))) * batch_size
