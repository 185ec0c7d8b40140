"""Move the bad shards of a store to quarantine and compute exactly those again."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pipeline.cluster import Cluster
from pipeline.defaults import EXTRACT_BATCH
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.choose_engine import choose_engine
from pipeline.extraction.engine import Engine
from pipeline.extraction.image_counter import ImageCounter
from pipeline.extraction.numerics import check_numbers, with_numerics
from pipeline.extraction.plan import Changes, ExtractionPlan
from pipeline.joined.part_reader import PartReader
from pipeline.maintenance.verify import shard_problems
from pipeline.store import (
    BadImage,
    FeatureStore,
    ShardEntry,
    StoreWriter,
    open_features,
    open_for_writing,
    view_directory,
    view_numbers,
)

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
    directory: str | Path,
    *,
    batch_size: int = EXTRACT_BATCH,
    workers: int | None = None,
    cluster: Cluster | None = None,
    mixed: bool = False,
    callbacks: Callbacks = SILENT,
) -> RepairResult:
    """Check every byte of the shards of a store and its views, and compute the bad shards again.

    Rows, index, spec and the good shards stay as they are. A bad file is moved to `quarantine/`.
    The conv base is loaded only if a shard is bad, and before anything is changed. Shards of a joined store are read
    from the stores that it was joined of, which must be where they were; no cluster is used then.

    Parameters
    ----------
    directory : path
        The directory of the store.
    batch_size, workers, cluster, mixed
        See `extract_features`.
    callbacks : Callbacks, optional

    Raises
    ------
    StoreError, StoreBusy
        There is no store, or a store that it was joined of is gone; another process writes to it.
    StoreDamaged
        Its manifest or its index is damaged, which nothing can restore.
    SpecError, StoreMismatch
        The conv base that the store was made with is gone, or has changed.
    OSError
        A full disk or an I/O error; the same call repairs the rest.
    """
    directory, result = Path(directory), RepairResult()
    is_joined = open_features(directory).is_joined  # raises before the lock would make the directory
    engine = PartReader() if is_joined else choose_engine(cluster, batch_size, workers, mixed, callbacks)
    for store in [directory, *(view_directory(directory, number) for number in view_numbers(directory))]:
        with open_for_writing(store) as writer:
            before = writer.current
            problems = dict(shard_problems(before, full=True, callbacks=callbacks))
            if not problems:
                continue
            engine.load_stored(before)
            if not isinstance(engine, PartReader) and cluster is not None and not before.manifest.numerics:
                _give_numerics(writer, engine, problems, mixed)
            for entry, problem in problems.items():
                path = before.shards.path(entry)
                logger.info("%s %s", path, problem)
                result.problems[(store.relative_to(directory) / path.name).as_posix()] = problem
            result.quarantined += writer.quarantine(list(problems))
            pending = np.array([(entry.start, entry.stop) for entry in problems], np.int64)
            plan = ExtractionPlan(before.index, pending, Changes())
            (callbacks.join_planned if is_joined else callbacks.extraction_planned)(plan, writer.current)
            counter = ImageCounter("features", plan.rows_pending, callbacks)
            engine.compute(writer, plan, counter)
            result.rows += plan.rows_pending
            known_bad = {bad.id for bad in before.bad}
            result.lost += [bad for bad in writer.commit().bad if bad.id not in known_bad]
    return result


def _give_numerics(writer: StoreWriter, engine: Engine, bad: Collection[ShardEntry], mixed: bool) -> None:
    """Check the numbers of an engine with the good shards of a store, and record how it rounds."""
    store = writer.current
    good = replace(store.manifest, shards=tuple(entry for entry in store.manifest.shards if entry not in bad))
    check_numbers(engine, FeatureStore(store.directory, good, store.index), mixed)
    manifest, probe = with_numerics(engine, store)
    writer.begin(manifest, store.index, probe=probe)
