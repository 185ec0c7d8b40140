"""Features at the end of a conv base, of a store that was cut lower: kept while a head is trained on them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StoreError
from pipeline.heads.rows_on_demand import ArrayRows
from pipeline.store import FeatureStore

Labelled = tuple[Any, np.ndarray]  # rows (an array, or `Rows`) and their labels


@contextmanager
def frozen_features(
    top_layers: Any,
    store: FeatureStore,
    maps: Mapping[str, Labelled],
    *,
    on_disk: bool,
    on_rows: Callable[[int, int], None],
) -> Iterator[dict[str, tuple[ArrayRows, np.ndarray]]]:
    """What the layers above a cut make of a store's maps, all of it, as long as the block runs.

    Parameters
    ----------
    top_layers : keras.Model
        Of `load_top_layers`.
    store : FeatureStore
        Features are kept in its dtype.
    maps : mapping of str to (rows, labels)
    on_disk : bool
        Whether to keep them in temporary files below the store, rather than in memory; a head that is
        trained on them is the same either way.
    on_rows : callable
        Called with how many rows are done, and of how many.

    Raises
    ------
    StoreError
        Features are not finite in that dtype.
    OSError
        The disk is too small.
    """
    from pipeline.heads import dense_network

    total, done = sum(len(y) for _, y in maps.values()), 0
    at_a_time = dense_network.rows_per_batch(top_layers)
    with ExitStack() as files:
        features = {}
        for split, (rows, y) in maps.items():
            shape = (len(y), *top_layers.output_shape[1:])
            room = _in_file(store.finetuning_directory, shape, store.dtype) if on_disk else None
            array = np.empty(shape, store.dtype) if room is None else files.enter_context(room)
            for start in range(0, len(rows), at_a_time):
                block = dense_network.predict_outputs(top_layers, rows[start : start + at_a_time])
                with np.errstate(over="ignore"):  # it is looked for in the next line
                    array[start : start + len(block)] = block
                _refuse_other_than_finite(array[start : start + len(block)], split, store)
                done += len(block)
                on_rows(done, total)
            features[split] = ArrayRows(array), y
        yield features


def _refuse_other_than_finite(features: np.ndarray, split: str, store: FeatureStore) -> None:
    if bad := sum(not np.isfinite(row).all() for row in features):
        other = "another --cut" if features.dtype == np.float32 else "--store-dtype float32"
        raise StoreError(
            f"{store.directory}: above {store.spec.cut}, features of {bad} of {len(features)} {split} images in a "
            f"row are not finite in {features.dtype}, which they must be to train on them; make a store with {other}"
        )


@contextmanager
def _in_file(directory: Path, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """An array in a nameless file, which is gone with its process."""
    with tempfile.TemporaryFile(dir=directory) as file:
        if hasattr(os, "posix_fallocate"):  # a full disk is an error now, and not a crash when a page is written
            os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        yield np.memmap(file, dtype, "w+", shape=shape)
