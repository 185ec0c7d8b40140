"""Pooled and scaled features in files, written once and mapped into the memory of several processes."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from sklearn.preprocessing import StandardScaler

from pipeline.heads.pooling import Pool
from pipeline.heads.rows_on_demand import Rows, row_blocks


def write_pooled(path: Path, X: Rows, how: str, on_rows: Callable[[int], None] = lambda rows: None) -> np.ndarray:
    """Write features as `SharedFeatures.pooled` gives them, and map the file into memory.

    `on_rows` is called with the number of rows of each block that was read.
    """
    pool = Pool(how).fit(None)

    def pooled() -> Iterable[np.ndarray]:
        for block in row_blocks(X):
            yield pool.transform(block).astype(np.float32, copy=False)
            on_rows(len(block))

    return _write(path, pooled(), (len(X), pool.width(X.shape[1:])))


def write_scaled(path: Path, pooled: np.ndarray) -> StandardScaler:
    """Write pooled features as `SharedFeatures.scaled` gives them, and return the fitted scaler."""
    scaler = StandardScaler()
    for block in row_blocks(pooled):
        scaler.partial_fit(block)
    _write(path, (scaler.transform(block) for block in row_blocks(pooled)), pooled.shape)
    return scaler


def map_array(path: Path) -> np.ndarray:
    """Map such a file into memory, as a plain ndarray of shape (n, d), float32, that cannot be written to."""
    return np.asarray(np.load(path, mmap_mode="r"))


def _write(path: Path, blocks: Iterable[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    with open(path, "xb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(block.tobytes())  # not through a memory map: a full disk would kill the process
    return map_array(path)
