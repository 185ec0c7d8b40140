"""The search for similar rows on the workers of a cluster.

The store has a directory for the time of the search, with three files that all workers read: the standardised rows,
the grey pictures, and which pictures could be read.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cluster import Cluster, Result
from pipeline.cluster.usable_results import NotMounted, alone, usable_results
from pipeline.duplicates.same_picture import PIXELS, keep_same, read_grey, tasks_of_rows
from pipeline.duplicates.similar_features import (
    NO_PAIRS,
    Blocks,
    RowPairs,
    compare_blocks,
    list_blocks,
    merge_pairs,
    pool_rows,
    standardise_rows,
)
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.decode_ahead import Task, read_image
from pipeline.files.cores import available_cores
from pipeline.files.scratch import scratch_directory
from pipeline.images.decode import DecodeError
from pipeline.store import FeatureStore
from pipeline.store.open_store import hash_files, open_again

ROWS_PER_TASK = 1024
BLOCKS_PER_TASK = 8  # a second or more of computing
ROWS, PICTURES, IS_READ = "rows", "pictures", "is_read"


@dataclass(frozen=True)
class Job:
    """What all tasks of a search have in common."""

    store: Path  # its directory
    store_sha256: str
    files: Path  # the directory of the files
    n: int  # rows
    threshold: float
    cores: int | None


@dataclass(frozen=True)
class ReadTask:
    """Some rows to pool, and the pictures of their images to read."""

    job: Job
    start: int
    rows: np.ndarray  # (m,), int64: rows of the store
    images: tuple[Task, ...]

    def __str__(self) -> str:
        return f"rows {self.start} to {self.start + len(self.rows)}"


@dataclass(frozen=True)
class CompareTask:
    """Blocks of rows to compare."""

    job: Job
    blocks: Blocks

    def __str__(self) -> str:
        return f"the comparison of the rows from {self.blocks.start} with those from {self.blocks.others.start}"


def similar_rows_on_cluster(
    store: FeatureStore, rows: np.ndarray, threshold: float, callbacks: Callbacks, cluster: Cluster
) -> RowPairs:
    """Find the pairs of some rows of a store whose features are similar and whose pictures are the same."""
    if len(rows) < 2:
        return NO_PAIRS
    with scratch_directory(store.directory, "duplicates") as files:
        sha256, cores = hash_files(store), cluster.cores_per_worker
        job = Job(store.directory.absolute(), sha256, files, len(rows), threshold, cores)
        _write_files(job, store, rows, callbacks, cluster)
        return merge_pairs(_compare_in_order(job, callbacks, cluster))


def _write_files(job: Job, store: FeatureStore, rows: np.ndarray, callbacks: Callbacks, cluster: Cluster) -> None:
    def list_read_tasks() -> Iterator[ReadTask]:
        for start in range(0, job.n, ROWS_PER_TASK):
            some = rows[start : start + ROWS_PER_TASK]
            yield ReadTask(job, start, some, tuple(tasks_of_rows(store.index, some)))

    is_read, done = np.zeros(job.n, bool), 0
    callbacks.progress("reading", done, job.n, "rows")
    with open(job.files / ROWS, "x+b") as features, open(job.files / PICTURES, "xb") as pictures:
        for result in usable_results(cluster.run(read_rows, list_read_tasks()), _find_unread_image):
            pooled, grey, start = result.value[0], result.value[1], result.task.start
            is_read[start : start + len(pooled)] = result.value[2]
            for file, array in ((features, pooled), (pictures, grey)):
                file.seek(start * array.itemsize * array.shape[1])
                file.write(array.tobytes())
            done += len(pooled)
            callbacks.progress("reading", done, job.n, "rows")
        standardise_rows(features, job.n, callbacks)
    np.save(job.files / IS_READ, is_read)


def _compare_in_order(job: Job, callbacks: Callbacks, cluster: Cluster) -> Iterator[tuple[Blocks, RowPairs]]:
    tasks = (CompareTask(job, blocks) for blocks in list_blocks(job.n, BLOCKS_PER_TASK))
    total, done, next_number = job.n * (job.n - 1) // 2, 0, 0
    waiting: dict[int, Result[Any]] = {}  # by the number of the task
    callbacks.progress("comparing", done, total, "pairs")
    for result in usable_results(cluster.run(compare_rows, tasks)):
        waiting[result.number] = result
        done += result.task.blocks.count_pairs(job.n)
        callbacks.progress("comparing", done, total, "pairs")
        while next_number in waiting:
            result = waiting.pop(next_number)
            next_number += 1
            yield from ((result.task.blocks, pairs) for pairs in result.value)


def _find_unread_image(result: Result[ReadTask]) -> str | None:
    """Return what is wrong with a worker that could not read an image that this process can read."""
    for i in np.flatnonzero(~result.value[2]).tolist():
        image = result.task.images[i]
        try:
            data = read_image(image.path)
        except DecodeError:
            continue
        if hashlib.sha256(data).digest() == image.content and next(iter(read_grey([image]))) is not None:
            return f"it cannot read {image.path}: are the images mounted there?"
    return None


def read_rows(task: ReadTask) -> tuple[np.ndarray, np.ndarray, np.ndarray] | NotMounted:
    """Return pooled rows (m, d), float32, grey pictures (m, 1024), uint8, and which of them were read, (m,), bool."""
    job = task.job
    if not job.files.is_dir():
        return NotMounted(job.store)
    pooled = pool_rows(open_again(job.store, job.store_sha256).rows_on_demand(task.rows))
    pictures, is_read = np.zeros((len(task.rows), PIXELS), np.uint8), np.zeros(len(task.rows), bool)
    for i, picture in enumerate(read_grey(task.images, job.cores)):
        if picture is not None:
            pictures[i], is_read[i] = picture, True
    return pooled, pictures, is_read


def compare_rows(task: CompareTask) -> list[RowPairs] | NotMounted:
    """Return the pairs of each pair of blocks, as `compare_blocks` does."""
    job = task.job
    if not job.files.is_dir():
        return NotMounted(job.store)
    rows = np.memmap(job.files / ROWS, np.float32, "r").reshape(job.n, -1)
    pictures = np.memmap(job.files / PICTURES, np.uint8, "r").reshape(job.n, PIXELS)
    is_read = np.load(job.files / f"{IS_READ}.npy", mmap_mode="r")
    with alone:
        accept = partial(keep_same, pictures=pictures, is_read=is_read)
        return list(compare_blocks(rows, task.blocks, job.threshold, accept, job.cores or available_cores()))
