"""The loop of stage one: compute the pending shards of a store, one after the other.

Images are decoded ahead in threads, for later shards too, while batches of images go through the
conv base. Each shard is written before the next one is computed, so that a kill costs one shard at
most, and it has batches of its own, so that its bytes depend on its own images only. In int8 a kill also
costs the images that the threads had computed ahead.
"""

import contextlib
import importlib.metadata
import platform
import shutil
from collections.abc import Iterator
from itertools import islice

import numpy as np

from pipeline.errors import StoreError
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.conv_base_loading import AnyConvBase
from pipeline.extraction.decode_ahead import list_tasks
from pipeline.extraction.plan import ExtractionPlan
from pipeline.extraction.run_conv_base import Row, compute_tasks
from pipeline.store import BadRow, FeatureStore, ShardContent, StoreWriter

PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "pillow")


class ImageCounter:
    """Counts the images of a step and reports each of them to `callbacks`."""

    def __init__(self, step: str, total: int, callbacks: Callbacks):
        self.step, self.total, self.callbacks, self.done = step, total, callbacks, 0
        callbacks.progress(step, 0, total, "images")

    def advance(self, row: Row) -> None:
        """Count the image of a row, and report it if it has no features."""
        if row.features is None and row.task.id is not None:
            self.callbacks.image_rejected(row.task.id, row.reason)
        self.done += 1
        self.callbacks.progress(self.step, self.done, self.total, "images")


def compute_shards(
    writer: StoreWriter,
    plan: ExtractionPlan,
    conv_base: AnyConvBase,
    batch_size: int,
    workers: int | None,
    callbacks: Callbacks,
    counter: ImageCounter | None = None,
) -> None:
    """Compute and write the pending shards of a plan whose index is written already.

    `counter` counts the images of several stores, for example of all views.
    """
    store = writer.current
    check_free_space(store, plan.rows_pending)
    callbacks.extraction_planned(plan, store)
    writer.set_maker(library_versions())
    counter = counter or ImageCounter("features", plan.rows_pending, callbacks)
    batches = -(-store.manifest.rows_per_shard // batch_size)  # of a full shard, which they fill evenly
    rows = compute_tasks(
        list_tasks(plan.index, plan.pending, store.spec.view),
        store,
        conv_base.compute,
        batch_size=-(-store.manifest.rows_per_shard // batches),
        workers=workers,
        stops=set(plan.pending[:, 1].tolist()),
    )
    with contextlib.closing(rows):
        for start, stop in plan.pending.tolist():
            # Not written in a thread: a kill would cost two shards, the one being written and the next one.
            writer.put_shard(*_collect_rows(islice(rows, stop - start), start, stop, store, counter))


def _collect_rows(
    rows: Iterator[Row], start: int, stop: int, store: FeatureStore, counter: ImageCounter
) -> tuple[ShardContent, tuple[BadRow, ...]]:
    features = np.zeros((stop - start, *store.feature_shape), store.dtype)
    status = np.zeros(stop - start, np.uint8)
    missing, bad = set(range(start, stop)), []
    for row in rows:
        i = row.task.row - start
        missing.discard(row.task.row)
        status[i] = row.status
        if row.features is None:
            bad.append(BadRow(row.task.row, int(row.status), row.reason))
        else:
            features[i] = row.features
        counter.advance(row)
    if missing:  # a row without a result must not be stored as zeros
        raise StoreError(f"{store.directory}: {len(missing)} of rows {start} to {stop} were not computed")
    return ShardContent(start, features, status, store.index.contents[start:stop]), tuple(bad)


def check_free_space(store: FeatureStore, rows: int) -> None:
    """Raise StoreError if the features of so many rows do not fit on the disk."""
    bytes_needed, free = rows * store.bytes_per_row, shutil.disk_usage(store.directory).free
    if bytes_needed > free:
        raise StoreError(
            f"{store.directory} needs {bytes_needed / 1e9:.1f} GB for {rows} images and "
            f"{free / 1e9:.1f} GB are free; make room or give another --cache directory"
        )


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that features depend on, and the machine."""
    return {**{name: importlib.metadata.version(name) for name in PACKAGES}, "machine": platform.platform()}
