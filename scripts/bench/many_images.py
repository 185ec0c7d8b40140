"""Memory and seconds of the process that scans, plans and keeps the index, for many images; files are simulated.

Names, sizes, times and contents of the image files are made up, shards are empty files and no features are computed.
What works with them is the code of the pipeline.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar
from unittest import mock

import numpy as np

from pipeline import FeatureStore, open_features, scan_images
from pipeline.extraction.decode_ahead import list_tasks
from pipeline.extraction.fill_store import _find_up_to_date
from pipeline.extraction.plan import MAX_ROWS, make_plan, plan_update
from pipeline.images.decode import DECODER
from pipeline.images.folder_walk import Entry, FolderWalk
from pipeline.images.status import Status
from pipeline.store import BadRow, Index, Manifest, ShardEntry, open_for_writing, read_manifest
from pipeline.store.file_names import SHARDS, shard_name

from .measuring import in_child, peak_memory, reset_peak_memory, say
from .results import Figure, figure
from .sizes import Sizes
from .stand_in import FEATURE_SHAPE, SPEC, StandIn

Result = TypeVar("Result")

CLASSES = 1_000
FINISHED = 0.95  # fraction of the shards
MOST, GOAL = 10_000_000, 8.0  # images, GiB
NOTE = "simulated files, real code"
TIME = 1_700_000_000_000_000_000  # of modification, in nanoseconds
ASKED = replace(SPEC, decoder=DECODER)
RESOLVED = StandIn(ASKED).spec


class Step(NamedTuple):
    """Time and memory of a step."""

    name: str
    seconds: float
    peak: int  # bytes of memory, with what earlier steps of the process keep


class Steps(list[Step]):
    """Runs and measures the steps of a process."""

    def run(self, name: str, job: Callable[..., Result], *arguments: object, **options: object) -> Result:
        """Call `job` and return its result."""
        reset_peak_memory()
        start = time.perf_counter()
        result = job(*arguments, **options)
        self.append(Step(name, time.perf_counter() - start, peak_memory()))
        say(f"  {name}: {self[-1].seconds:.2f} s, {self[-1].peak / 2**30:.3f} GiB")
        return result


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure a new store; then, with most shards finished and some images changed, the next run; then a third one."""
    (work / "photos").mkdir()
    figures: list[Figure] = []
    for name, job in {"new store": plan_new_store, "changes": plan_changes, "no changes": find_no_changes}.items():
        say(f"  {name}, {sizes.planned:,} simulated images")
        figures += _figures(sizes.planned, name, in_child(job, sizes.planned, work))
    return figures


def plan_new_store(n: int, work: Path) -> Steps:
    """Scan, plan and write the index of a new store. Must run in a process that does nothing else."""
    steps = Steps()
    with simulated_files(n, changed=False), open_for_writing(work / "store") as writer:
        images = steps.run("scan, all files read", scan_images, work / "photos")
        plan = steps.run("plan", make_plan, images, None, (), rows_per_shard=MAX_ROWS)
        steps.run("write index and manifest", writer.begin, _manifest(work), plan.index)
    _pretend_to_finish(work, plan.index.ranges[: int(FINISHED * len(plan.index.ranges))], Status.UNREADABLE)
    return steps


def plan_changes(n: int, work: Path) -> Steps:
    """Scan changed images, and plan, begin and follow the rest of a store. Must run in a process of its own."""
    steps = Steps()
    with simulated_files(n, changed=True):
        stored = steps.run("open the store", open_features, work / "store")
        images = steps.run("scan, changed files read", scan_images, work / "photos", known=stored.images)
        del stored
        steps.run("compare with the store", _find_up_to_date, images, work / "store", ASKED)
        with ExitStack() as stack:
            writer = steps.run("open for writing", stack.enter_context, open_for_writing(work / "store"))
            plan = steps.run("plan", plan_update, images, writer.current)
            del images
            steps.run("write index and manifest", writer.begin, writer.current.manifest, plan.index)
            steps.run("list the tasks shard by shard", _list_tasks, plan.index, plan.pending)
            steps.run("write the manifest again", writer.set_maker, {"simulated": True})
            steps.run("status, members, bad, pending", _describe, writer.current)
    _pretend_to_finish(work, plan.index.ranges, Status.UNDECODABLE)
    return steps


def find_no_changes(n: int, work: Path) -> Steps:
    """Scan the images of a finished store, and find that nothing is to be done. Must run in a process of its own."""
    steps = Steps()
    with simulated_files(n, changed=True):
        stored = steps.run("open the store", open_features, work / "store")
        images = steps.run("scan, no file read", scan_images, work / "photos", known=stored.images)
        del stored
        store = steps.run("compare with the store", _find_up_to_date, images, work / "store", ASKED)
    if store is None:
        raise RuntimeError("the store is up to date and was not found to be")
    return steps


class SimulatedWalk(FolderWalk):
    """Lists files that do not exist, `class_0012/some_folder/IMG_00012345.jpg` for example.

    If `changed`, of each hundred files of a class the first has another time and content, the second another name, the
    third is gone and the fourth has a new file beside it.
    """

    n, changed = 0, False

    def children(self, folder: str = "") -> tuple[list[str], list[Entry]]:
        """Return folders and files as `FolderWalk` does."""
        classes = min(CLASSES, self.n // 2)
        if not folder:
            return [f"class_{i:04d}" for i in range(classes)], []
        if "/" not in folder:
            return [f"{folder}/some_folder"], []
        files = []
        for k, i in enumerate(range(int(folder[6:10]), self.n, classes)):
            change = k % 100 if self.changed else None
            if change != 2:
                name = "NEW" if change == 1 else "IMG"
                files.append(Entry(f"{folder}/{name}_{i:08d}.jpg", size=100_000 + i, mtime=TIME + i + (change == 0)))
            if change == 3:
                files.append(Entry(f"{folder}/ADD_{i:08d}.jpg", size=100_000, mtime=TIME))
        return [], files

    @classmethod
    def content(cls, path: Path) -> bytes:
        """Return the simulated sha256 of a file."""
        i = int(path.stem[4:])
        is_changed = cls.changed and path.stem[:3] == "IMG" and i // min(CLASSES, cls.n // 2) % 100 == 0
        number = i + cls.n * (is_changed + 2 * (path.stem[:3] == "ADD"))
        return hashlib.sha256(number.to_bytes(8, "big")).digest()


@contextmanager
def simulated_files(n: int, *, changed: bool) -> Iterator[None]:
    """Let scans find n files, see `SimulatedWalk`."""
    SimulatedWalk.n, SimulatedWalk.changed = n, changed
    with (
        mock.patch("pipeline.images.labels.FolderWalk", SimulatedWalk),
        mock.patch("pipeline.images.content_hashes._read_content", SimulatedWalk.content),
    ):
        yield


def _manifest(work: Path) -> Manifest:
    return Manifest(
        spec=RESOLVED.identity(),
        fingerprint=RESOLVED.fingerprint,
        feature_shape=FEATURE_SHAPE,
        sources={"conv_base": SPEC.conv_base, "weights": SPEC.weights},
        rows_per_shard=MAX_ROWS,
        images={"root": str(work / "photos")},
    )


def _pretend_to_finish(work: Path, ranges: np.ndarray, status: Status) -> None:
    """Make empty files of shards, and list them in the manifest, each with a bad row."""
    manifest = read_manifest(work / "store")
    entries = []
    for start, stop in ranges.tolist():
        (work / "store" / SHARDS / shard_name(start, stop)).touch()
        entries.append(ShardEntry(start, stop, 0, "0" * 64, (BadRow(start, status, status.words),)))
    replace(manifest, shards=tuple(entries)).write(work / "store")


def _list_tasks(index: Index, pending: np.ndarray) -> None:
    for shard in pending:
        for _ in list_tasks(index, shard[None]):
            pass


def _describe(store: FeatureStore) -> None:
    _ = store.status, store.members("train"), store.bad, store.pending


def _figures(n: int, run: str, steps: Steps) -> list[Figure]:
    goal = GOAL if n == MOST else None
    figures = []
    for step in steps:
        key = f"plan.{run}.{step.name}".replace(" ", "_").replace(",", "")
        what = f"{n:,} images, {run}: {step.name}"
        figures.append(figure(f"{key}.seconds.{n}", what, step.seconds, "s", note=NOTE))
        peak = step.peak / 2**30
        figures.append(figure(f"{key}.peak.{n}", f"{what}, memory", peak, "GiB", at_most=goal, note=NOTE))
    return figures
