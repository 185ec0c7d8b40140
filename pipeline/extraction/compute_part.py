"""`compute_part`: compute a part of the pending shards of a store, without its lock, beside other processes."""

import contextlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.defaults import EXTRACT_BATCH
from pipeline.errors import StoreError, StoreMismatch
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.compute_shards import check_free_space, compute_shards
from pipeline.extraction.decode_ahead import list_tasks
from pipeline.extraction.image_counter import ImageCounter
from pipeline.extraction.numerics import find_numerics_problem, made_with
from pipeline.extraction.shard_task import Job, ShardComputer, without_shards
from pipeline.extraction.spec_check import is_surely_same_spec
from pipeline.images.decode import DECODER
from pipeline.images.status import UNREAD
from pipeline.store import FeatureStore, find_problem, list_staged, open_features, open_views, stage_shard

logger = logging.getLogger(__name__)


def compute_part(
    directory: str | Path,
    part: int,
    parts: int,
    spec: ConvBaseSpec | None = None,
    *,
    mixed: bool = False,
    batch_size: int = EXTRACT_BATCH,
    workers: int | None = None,
    callbacks: Callbacks = SILENT,
) -> int:
    """Compute a part of the pending shards of a store whose plan is written, and return the number of rows.

    Every `parts`-th shard of the store belongs to a part, of which those that are pending are computed. They lie below
    `shards/` under names of their own until `extract_features` checks and lists them. All parts may run at the same
    time, on any machine that has the store, the images and the conv base under the same paths. A part that is started
    again computes what is missing. Nothing else of the store is changed.

    Parameters
    ----------
    directory : path
        The directory of the store, whose plan `extract_features(..., plan_only=True)` has written.
    part, parts : int
        Which part, from 1 to `parts`, and how many there are.
    spec : ConvBaseSpec, optional
        The conv base that the store should have, and where it is now; that of the store if not given.
    mixed : bool
        Whether this machine may compute features that differ from the store's within the tolerance of its precision.
    batch_size, workers
        See `extract_features`.
    callbacks : Callbacks, optional

    Raises
    ------
    StoreError
        There is no store, or its plan is not for several machines.
    StoreMismatch
        The store was made with another spec, or this machine computes other numbers.
    SpecError
        The conv base cannot be loaded.
    OSError
        A full disk or an I/O error; finished shards are kept.
    """
    if not 1 <= part <= parts:
        raise ValueError(f"part {part} of {parts}: parts are counted from 1")
    store = open_features(directory)
    store.check_not_joined()
    if spec is not None:
        spec = replace(spec, decoder=DECODER)
        is_surely_same_spec(store.manifest, spec)
    pending = [(view, _pending_ranges(view, part, parts)) for view in [store, *open_views(store)]]
    total, done = sum(int(np.diff(ranges).sum()) for _, ranges in pending), 0
    counter = ImageCounter("features", total, callbacks)
    computer: ShardComputer | None = None
    for view, ranges in pending:
        if len(ranges):
            if not view.manifest.numerics:
                raise StoreError(f"{view.directory} has no plan for several machines: run `features` with --plan first")
            job = Job(without_shards(view), spec or store.conv_base_spec, batch_size, workers, mixed)
            check_free_space(view, int(np.diff(ranges).sum()))
            if computer is None:
                callbacks.conv_base_loading(job.spec)
                computer = ShardComputer(job)
            callbacks.part_planned(int(np.diff(ranges).sum()), view)
            if problem := find_numerics_problem(computer.probe(job.layout), job.layout, mixed):
                raise StoreMismatch(f"{view.directory}: {problem}")
            done += _compute(job, computer, view, ranges, counter)
    return done


def _pending_ranges(store: FeatureStore, part: int, parts: int) -> np.ndarray:
    """Return the ranges of a part that are neither finished nor staged, ndarray of shape (r, 2), int64.

    A shard's number in the index tells its part, so that parts that start later agree with those before.
    """
    finished = {(shard.start, shard.stop) for shard in store.shards_in_place()}
    for staged in list_staged(store.directory):
        if find_problem(store, staged.path, staged.start, staged.stop) is None:
            finished.add((staged.start, staged.stop))
    mine = store.index.ranges[part - 1 :: parts]
    return mine[[tuple(pair) not in finished for pair in mine.tolist()]]


def _compute(job: Job, computer: ShardComputer, store: FeatureStore, ranges: np.ndarray, counter: ImageCounter) -> int:
    """Compute and stage shards, and return the number of their rows.

    A shard with an image that cannot be read is left to the run that lists the others: this host may not have it.
    """
    layout, done, unread = job.layout, 0, 0
    maker = made_with(computer.probe(layout), layout)
    if "numerics" in maker:
        logger.warning("this machine rounds differently from the one that made the store, and is admitted")
    shards = compute_shards(
        [(start, stop) for start, stop in ranges.tolist()],
        list_tasks(store.index, ranges, store.spec.view),
        layout,
        computer.engine.loaded(),
        batch_size=job.batch_size,
        workers=job.workers,
        on_row=counter.advance,
    )
    with contextlib.closing(shards):
        for content, bad in shards:
            if n_unread := sum(row.status in UNREAD for row in bad):
                unread += n_unread
                continue
            stage_shard(layout, content, bad, maker)
            done += len(content.features)
    if unread:
        logger.warning(
            "%d images could not be read, so that %d rows of %s are left to the run without --part; are the images "
            "mounted here?",
            *(unread, int(np.diff(ranges).sum()) - done, layout.directory),
        )
    return done
