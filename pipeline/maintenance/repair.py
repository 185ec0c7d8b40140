"""Move the bad shards of a store to quarantine and compute exactly those again."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.defaults import EXTRACT_BATCH
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.image_counter import ImageCounter
from pipeline.extraction.local_engine import LocalEngine
from pipeline.extraction.plan import Changes, ExtractionPlan
from pipeline.maintenance.verify import shard_problems
from pipeline.store import BadImage, open_features, open_for_writing, view_directory, view_numbers

logger = logging.getLogger(__name__)


@dataclass
class RepairResult:
    """What `repair_store` found and repaired."""

    # What was wrong, by the name of the shard's file; `views/001/` precedes that of a view.
    problems: dict[str, str] = field(default_factory=dict)
    quarantined: list[Path] = field(default_factory=list)  # where the bad files are now; a missing shard has none
    rows: int = 0  # that were computed again
    lost: list[BadImage] = field(default_factory=list)  # images of these rows that had features and have none now


def repair_store(
    directory: str | Path, *, batch_size: int = EXTRACT_BATCH, workers: int | None = None, callbacks: Callbacks = SILENT
) -> RepairResult:
    """Check every byte of the shards of a store and its views, and compute the bad shards again.

    Rows, index, spec and the good shards stay as they are. A bad file is moved to `quarantine/`.
    The conv base is loaded only if a shard is bad, and before anything is changed.

    Parameters
    ----------
    directory : path
        The directory of the store.
    batch_size, workers
        See `extract_features`.
    callbacks : Callbacks, optional

    Raises
    ------
    StoreError, StoreBusy
        There is no store; another process writes to it.
    StoreDamaged
        Its manifest or its index is damaged, which nothing can restore.
    SpecError, StoreMismatch
        The conv base that the store was made with is gone, or has changed.
    OSError
        A full disk or an I/O error; the same call repairs the rest.
    """
    directory, result = Path(directory), RepairResult()
    engine = LocalEngine(batch_size, workers, callbacks)
    open_features(directory)  # raises before the lock would make the directory
    for store in [directory, *(view_directory(directory, number) for number in view_numbers(directory))]:
        with open_for_writing(store) as writer:
            before = writer.current
            problems = dict(shard_problems(before, full=True, callbacks=callbacks))
            if not problems:
                continue
            engine.load_stored(before)
            for entry, problem in problems.items():
                path = before.shards.path(entry)
                logger.info("%s %s", path, problem)
                result.problems[(store.relative_to(directory) / path.name).as_posix()] = problem
            result.quarantined += writer.quarantine(list(problems))
            pending = np.array([(entry.start, entry.stop) for entry in problems], np.int64)
            plan = ExtractionPlan(before.index, pending, Changes())
            callbacks.extraction_planned(plan, writer.current)
            counter = ImageCounter("features", plan.rows_pending, callbacks)
            engine.compute(writer, plan, counter)
            result.rows += plan.rows_pending
            known_bad = {bad.id for bad in before.bad}
            result.lost += [bad for bad in writer.commit().bad if bad.id not in known_bad]
    return result
