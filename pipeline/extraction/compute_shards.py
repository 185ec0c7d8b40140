"""The loop of stage one: compute ranges of rows, one shard after the other.

Images are decoded ahead in threads, for later shards too, while batches of images go through the
conv base. Each shard is yielded, to be written, before the next one is computed, so that a kill costs one shard at
most, and it has batches of its own, so that its bytes depend on its own images only. In int8 a kill also
costs the images that the threads had computed ahead.
"""

import contextlib
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from pipeline.errors import StoreError
from pipeline.extraction.conv_base_loading import AnyConvBase
from pipeline.extraction.decode_ahead import Task
from pipeline.extraction.run_conv_base import Row, compute_tasks
from pipeline.store import BadRow, ShardContent, StoreLayout

ComputedShard = tuple[ShardContent, tuple[BadRow, ...]]


def compute_shards(
    ranges: Sequence[tuple[int, int]],
    tasks: Iterable[Task],
    layout: StoreLayout,
    conv_base: AnyConvBase,
    *,
    batch_size: int,
    workers: int | None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> Generator[ComputedShard]:
    """Compute the shards of some ranges of rows; close the generator to stop the threads.

    `tasks` has one task for each row of the `ranges`, in order. `on_row` is called with each computed row.
    """
    batches = -(-layout.manifest.rows_per_shard // batch_size)  # of a full shard, which they fill evenly
    rows = compute_tasks(
        tasks,
        layout,
        conv_base.compute,
        batch_size=-(-layout.manifest.rows_per_shard // batches),
        workers=workers,
        stops={stop for _, stop in ranges},
    )
    with contextlib.closing(rows):
        for start, stop in ranges:
            yield _collect_rows(islice(rows, stop - start), start, stop, layout, on_row)


def _collect_rows(
    rows: Iterator[Row], start: int, stop: int, layout: StoreLayout, on_row: Callable[[Row], None]
) -> ComputedShard:
    features = np.zeros((stop - start, *layout.feature_shape), layout.dtype)
    status = np.zeros(stop - start, np.uint8)
    ids = np.zeros((stop - start, 32), np.uint8)
    missing, bad = set(range(start, stop)), []
    for row in rows:
        i = row.task.row - start
        missing.discard(row.task.row)
        status[i], ids[i] = row.status, np.frombuffer(row.task.content or b"", np.uint8)
        if row.features is None:
            bad.append(BadRow(row.task.row, int(row.status), row.reason))
        else:
            features[i] = row.features
        on_row(row)
    if missing:  # a row without a result must not be stored as zeros
        raise StoreError(f"{layout.directory}: {len(missing)} of rows {start} to {stop} were not computed")
    return ShardContent(start, features, status, ids), tuple(bad)


def check_free_space(layout: StoreLayout, rows: int) -> None:
    """Raise StoreError if the features of so many rows do not fit on the disk."""
    bytes_needed, free = rows * layout.bytes_per_row, shutil.disk_usage(layout.directory).free
    if bytes_needed > free:
        raise StoreError(
            f"{layout.directory} needs {bytes_needed / 1e9:.1f} GB for {rows} images and "
            f"{free / 1e9:.1f} GB are free; make room or give another --cache directory"
        )
