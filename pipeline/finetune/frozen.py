"""Features at the end of a conv base, of a store that was cut lower: kept while a head is trained on them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 512  # rows of maps that are run through the upper layers at a time

Labelled = tuple[Any, np.ndarray]  # rows (an array, or `Rows`) and their labels


@contextmanager
def frozen_features(
    upper: Any,
    maps: Mapping[str, Labelled],
    dtype: np.dtype,
    *,
    scratch: Path | None,
    on_rows: Callable[[int, int], None],
) -> Iterator[dict[str, Labelled]]:
    """What the layers above a cut make of a store's maps, all of it, as long as the block runs.

    Parameters
    ----------
    upper : keras.Model
        Of `load_upper`.
    maps : mapping of str to (rows, labels)
    dtype : dtype
        To keep the features in.
    scratch : Path, optional
        Where to keep them in temporary files, rather than in memory.
    on_rows : callable
        Called with how many rows are done, and of how many.

    Raises
    ------
    OSError
        The disk is too small.
    """
    from pipeline.heads import network

    total, done = sum(len(y) for _, y in maps.values()), 0
    with ExitStack() as files:
        features = {}
        for split, (rows, y) in maps.items():
            shape = (len(y), *upper.output_shape[1:])
            kept = np.empty(shape, dtype) if scratch is None else files.enter_context(_in_file(scratch, shape, dtype))
            for start in range(0, len(rows), BLOCK):
                block = network.outputs(upper, rows[start : start + BLOCK])
                kept[start : start + len(block)] = block
                done += len(block)
                on_rows(done, total)
            features[split] = (kept if scratch is None else OnDisk(kept)), y
        yield features


class OnDisk:
    """Features in a memory-mapped array, as `Rows` that are read where they lie and never all at once.

    Parameters
    ----------
    array : memmap of shape (n, ...)
    """

    def __init__(self, array: np.ndarray):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The rows of a slice, or of an ndarray of row numbers in their order."""
        return np.array(self.array[rows])


@contextmanager
def _in_file(directory: Path, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """An array in a nameless file, which is gone with its process."""
    with tempfile.TemporaryFile(dir=directory) as file:
        if hasattr(os, "posix_fallocate"):  # a full disk is an error now, and not a crash when a page is written
            os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        yield np.memmap(file, dtype, "w+", shape=shape)
