"""Compute the features at the end of a conv base from the maps of a store that was cut lower."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from pipeline.errors import StoreError
from pipeline.heads.rows_on_demand import ArrayRows
from pipeline.store import FeatureStore
from pipeline.training.fit_and_score import Split


@contextmanager
def compute_frozen_features(
    top_layers: Any,
    store: FeatureStore,
    splits: Mapping[str, Split],
    *,
    on_disk: bool,
    on_rows: Callable[[int, int], None],
) -> Iterator[dict[str, Split]]:
    """Run the layers above a cut over all maps of a store; the features exist until the block ends.

    The yielded splits have these features in place of the maps of `splits`. With `on_disk`, features are
    written to temporary files below the store instead of memory, which changes nothing in a head that is
    trained on them. `on_rows` is called with the number of rows done and the total. Features that are not
    finite in the dtype of the store raise StoreError.
    """
    from pipeline.heads import dense_network

    total, done = sum(len(split.y) for split in splits.values()), 0
    batch_rows = dense_network.rows_per_batch(top_layers)
    with ExitStack() as files:
        features = {}
        for name, split in splits.items():
            shape = (len(split.y), *top_layers.output_shape[1:])
            if not on_disk:
                array = np.empty(shape, store.dtype)
            else:
                file = files.enter_context(tempfile.TemporaryFile(dir=store.finetuning_directory))
                if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a crash while pages are written
                    os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)) * store.dtype.itemsize)
                array = np.memmap(file, store.dtype, "w+", shape=shape)
            for start in range(0, len(split.X), batch_rows):
                block = dense_network.predict_outputs(top_layers, split.X[start : start + batch_rows])
                with np.errstate(over="ignore"):  # the check two lines below finds it
                    array[start : start + len(block)] = block
                _check_finite(array[start : start + len(block)], name, store)
                done += len(block)
                on_rows(done, total)
            features[name] = split._replace(X=ArrayRows(array))
        yield features


def _check_finite(features: np.ndarray, split: str, store: FeatureStore) -> None:
    if bad := sum(not np.isfinite(row).all() for row in features):
        other = "another --cut" if features.dtype == np.float32 else "--store-dtype float32"
        raise StoreError(
            f"{store.directory}: above {store.conv_base_spec.cut}, features of {bad} of {len(features)} consecutive "
            f"{split} images are not finite in {features.dtype}; no head can be trained on them; make a store with "
            f"{other}"
        )
