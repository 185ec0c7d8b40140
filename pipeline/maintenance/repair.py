"""Bad shards are put aside, and exactly those are computed again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.defaults import EXTRACT_BATCH
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.compute_shards import compute_shards
from pipeline.extraction.conv_base_loading import load_stored_conv_base
from pipeline.extraction.plan import Changes, ExtractionPlan
from pipeline.maintenance.verify import shard_problems
from pipeline.store import (
    BadImage,
    FeatureStore,
    ShardEntry,
    open_features,
    open_for_writing,
    view_directory,
    view_numbers,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RepairResult:
    """What was mended.

    Attributes
    ----------
    problems : dict of str to str
        What was wrong, by the name of the shard's file, after `views/001` if it is a view's.
    quarantined : list of Path
        Where the bad files are now; one that was missing has none.
    rows : int
        How many rows were computed again.
    lost : list of BadImage
        Images of these rows that had features and have none now.
    """

    problems: dict[str, str]
    quarantined: list[Path]
    rows: int
    lost: list[BadImage]


def repair_store(
    directory: str | Path,
    *,
    batch_size: int = EXTRACT_BATCH,
    workers: int | None = None,
    callbacks: Callbacks = SILENT,
) -> RepairResult:
    """Check every byte of a store's shards, and of its views', and compute the bad ones again from the images.

    Rows, index, spec and the good shards stay as they are. A bad file is moved to `quarantine/`.
    The conv base is loaded only if there is a bad shard, and before anything is touched.

    Parameters
    ----------
    directory : path
    batch_size, workers
        As of `extract_features`.
    callbacks : Callbacks, optional

    Raises
    ------
    StoreError, StoreBusy
        There is no store; another process writes to it.
    StoreDamaged
        Its manifest or its index is damaged; they cannot be made from anything else.
    SpecError, StoreMismatch
        The conv base it was made with is gone, or is another one now.
    OSError
        A full disk or an I/O error; the same call goes on from there.
    """
    directory = Path(directory)
    open_features(directory)  # a lock makes the directory: not where there is no store
    stores = [directory, *(view_directory(directory, number) for number in view_numbers(directory))]
    reports = [_repair_one(store, callbacks, batch_size, workers) for store in stores]
    names = [store.relative_to(directory) for store in stores]
    return RepairResult(
        problems={
            (name / shard).as_posix(): problem
            for name, report in zip(names, reports, strict=True)
            for shard, problem in report.problems.items()
        },
        quarantined=[path for report in reports for path in report.quarantined],
        rows=sum(report.rows for report in reports),
        lost=[bad for report in reports for bad in report.lost],
    )


def _repair_one(directory: Path, callbacks: Callbacks, batch_size: int, workers: int | None) -> RepairResult:
    with open_for_writing(directory) as writer:
        before = writer.current
        problems = dict(shard_problems(before, full=True, callbacks=callbacks))
        if not problems:
            return RepairResult({}, [], 0, [])
        conv_base = load_stored_conv_base(before, callbacks)
        for entry, problem in problems.items():
            logger.info("%s %s", before.shards.path(entry), problem)
        quarantined = writer.quarantine(list(problems))
        pending = np.array([(entry.start, entry.stop) for entry in problems], np.int64)
        plan = ExtractionPlan(before.index, pending, Changes())
        compute_shards(writer, plan, conv_base, batch_size=batch_size, workers=workers, callbacks=callbacks)
        return RepairResult(
            problems={before.shards.path(entry).name: problem for entry, problem in problems.items()},
            quarantined=quarantined,
            rows=plan.rows_pending,
            lost=_lost(before, writer.commit(), list(problems)),
        )


def _lost(before: FeatureStore, after: FeatureStore, entries: list[ShardEntry]) -> list[BadImage]:
    known_bad = {bad.row for entry in entries for bad in entry.bad}
    row_of = dict(zip(after.images.ids, after.index.rows.tolist(), strict=True))
    rows = {row for entry in entries for row in range(entry.start, entry.stop)} - known_bad
    return [bad for bad in after.bad if row_of[bad.id] in rows]
