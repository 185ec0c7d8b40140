"""Workers that stop and wake later, lack the images, write elsewhere or compute other numbers."""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from pipeline import open_features
from pipeline.conv_base.precision import TOLERANCE, relative_l2
from pipeline.extraction.probe import IMAGES
from pipeline.store import StoreLayout, open_for_writing, stage_shard

from . import children, stand_ins
from .children import Child, Outcome
from .cluster_kills import NONE, damaged_by_signal, finish, new_store
from .machines import MAX_IN_FLIGHT, Damage, Machines
from .oracle import Sample, examine, faults_when_finished
from .results import Result, has_one_error_line, last_line
from .second_writer import contents

WAKING = 1.0  # seconds that a worker has to finish what it was stopped in


def stop_workers(sample: Sample, work: Path, steps: Sequence[int]) -> Result:
    """Stop a worker at some of its file operations until another one has computed its shards; then wake it."""
    result = Result("SIGSTOP of a worker past its time, then SIGCONT")
    for number in steps:
        for halfway in (False, True):
            cache = new_store(work / "stopped")
            with Machines(work, damaged_by_signal(cache, signal.SIGSTOP, number, halfway=halfway), NONE) as machines:
                child = children.start(_fill_impatiently, machines, sample, cache)
                finish(child, sample, cache, result, 1, MAX_IN_FLIGHT * 2)
                if machines.workers[0].is_stopped():
                    _wake(machines.workers[0], sample, cache, result)
        result.show(number, steps[-1])
    result.expect(result.tried["late shards removed"] > 0, "no worker was late")
    return result.done()


def _fill_impatiently(machines: Machines, sample: Sample, cache: Path) -> None:
    with mock.patch.multiple("pipeline.cluster.run_tasks", SLOW=1.0, SLOW_SECONDS=0.2, CHECK_SECONDS=0.1):
        machines.fill(sample, cache)


def _wake(worker: Child, sample: Sample, cache: Path, result: Result) -> None:
    """Let a stopped worker go on: it changes nothing, and what it leaves is removed by the next writer."""
    before = contents(cache)
    os.kill(worker.pid, signal.SIGCONT)
    end, late = time.monotonic() + WAKING, False
    while not late and time.monotonic() < end:
        time.sleep(WAKING / 10)
        late = any((cache / "shards").glob(".done-*"))
    result.tried["stops"] += 1
    result.tried["late shards removed"] += late
    result.expect(contents(cache) == before, "a worker that woke late changed the store")
    result.ran(children.run(_write_nothing, cache), "the next writer")
    for fault in faults_when_finished(cache, sample):
        result.expect(False, f"after a late worker: {fault}")


def _write_nothing(cache: Path) -> None:
    with open_for_writing(cache):
        pass


@contextlib.contextmanager
def without_files(folder: Path, code: int) -> Iterator[None]:
    """Make every look at what is in a folder fail."""

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(path, (str, Path)) and str(path).startswith(f"{folder}{os.sep}"):
                raise OSError(code, os.strerror(code), str(path))
            return real(path, *args, **kwargs)

        return call

    with mock.patch("builtins.open", guarded(builtins.open)), mock.patch("os.stat", guarded(os.stat)):
        yield


@contextlib.contextmanager
def with_one_image(folder: Path) -> Iterator[None]:
    """Give the same image in place of each one in a folder, as a wrong mount may do."""
    first, real = next(folder.rglob("*.*")), builtins.open

    def call(path: Any, *args: Any, **kwargs: Any) -> Any:
        inside = isinstance(path, (str, Path)) and str(path).startswith(f"{folder}{os.sep}")
        return real(first if inside else path, *args, **kwargs)

    with mock.patch("builtins.open", call):
        yield


@contextlib.contextmanager
def writing_elsewhere(directory: Path) -> Iterator[None]:
    """Stage shards in another directory."""

    def stage(layout: Any, *args: Any) -> Any:
        return stage_shard(StoreLayout(directory, layout.manifest), *args)

    with mock.patch("pipeline.extraction.shard_task.stage_shard", stage):
        yield


@contextlib.contextmanager
def failing_to_write(code: int) -> Iterator[None]:
    """Let every shard fail to be staged."""
    error = OSError(code, os.strerror(code))
    with mock.patch("pipeline.extraction.shard_task.stage_shard", side_effect=error):
        yield


@contextlib.contextmanager
def rounding(relative: float) -> Iterator[None]:
    """Compute features that are off by a relative error, and probes with the images of the package."""
    real = stand_ins.quarters

    def compute(batch: np.ndarray) -> np.ndarray:
        return real(batch) * np.float32(1 + relative)

    with (
        mock.patch("pipeline.extraction.probe.IMAGES", IMAGES),
        mock.patch.object(stand_ins, "quarters", compute),
    ):
        yield


@dataclass(frozen=True)
class Case:
    """Workers with a fault beside others without it.

    `is_planned` tells that a worker without the fault has begun the store, which has the numbers of that one then;
    `admits` that those with the fault compute all the same.
    """

    name: str
    bad: Damage
    good: Damage = NONE
    options: tuple[str, ...] = ()
    is_planned: bool = False
    admits: bool = False


def damage_workers(sample: Sample, work: Path, step: int = 1) -> Result:
    """Let one of two workers, and then all of them, have each fault; of the faults, the last of every `step`."""
    result, elsewhere = Result("workers without images, elsewhere, with other numbers"), work / "elsewhere"
    (elsewhere / "shards").mkdir(parents=True, exist_ok=True)
    exact = partial(rounding, 0.0)
    class_folder = next(path for path in sample.folder.iterdir() if path.is_dir())
    cases = [
        Case("no images", partial(without_files, sample.folder, errno.ENOENT)),
        Case("no images of one class", partial(without_files, class_folder, errno.ENOENT)),
        Case("images that cannot be read", partial(without_files, sample.folder, errno.EIO)),
        Case("other images", partial(with_one_image, sample.folder)),
        Case("other images than were planned", partial(with_one_image, sample.folder), is_planned=True),
        Case("another directory", partial(writing_elsewhere, elsewhere)),
        Case("no directory", partial(writing_elsewhere, elsewhere / "missing")),
        Case("a directory that is read-only", partial(failing_to_write, errno.EROFS)),
        Case("numbers off by 1e-6", partial(rounding, 1e-6), exact, is_planned=True),
        Case("numbers off by 1e-2", partial(rounding, 1e-2), exact, is_planned=True),
        Case("numbers off by 1e-2, mixed", partial(rounding, 1e-2), exact, ("--mixed",), is_planned=True),
        Case("numbers off by 1e-6, mixed", partial(rounding, 1e-6), exact, ("--mixed",), is_planned=True, admits=True),
    ]
    for number, case in enumerate(cases[::-step], 1):
        _damage_one(case, sample, work, result)
        if not case.admits:
            _damage_all(case, sample, work, result)
        result.show(number, -(-len(cases) // step))
    return result.done()


def _damage_one(case: Case, sample: Sample, work: Path, result: Result) -> None:
    cache = new_store(work / "damaged")
    with Machines(work, case.good) as machines:
        if case.is_planned:
            result.ran(children.run(partial(machines.fill, plan_only=True), sample, cache), f"{case.name}: the plan")
        machines.start_worker(case.bad)
        outcome = children.run(machines.command, sample, cache, *case.options)
    said = "rounds differently and is admitted" if case.admits else "gets no more tasks"
    lines = [line for line in outcome.errors.splitlines() if said in line]
    is_right = outcome.value == 0 and len(lines) == 1
    result.expect(is_right, f"{case.name}: status {outcome.value}, printed {outcome.errors[-600:]!r}")
    result.tried["workers admitted" if case.admits else "workers dropped with one line"] += is_right
    if case.admits:
        _check_mixed(sample, cache, result)
        return
    result.add(examine(cache, sample), case.name)
    for fault in faults_when_finished(cache, sample):
        result.expect(False, f"{case.name}: {fault}")


def _damage_all(case: Case, sample: Sample, work: Path, result: Result) -> None:
    cache = new_store(work / "damaged")
    if case.is_planned:
        with Machines(work, case.good) as machines:
            result.ran(children.run(partial(machines.fill, plan_only=True), sample, cache), f"{case.name}: the plan")
    with Machines(work, case.bad, case.bad) as machines:
        outcome = children.run(machines.command, sample, cache, *case.options)
    expect_one_line(outcome, result, f"{case.name}, all workers")
    if cache.exists():
        result.add(examine(cache, sample), f"{case.name}, all workers")
    with Machines(work, case.good, case.good) as machines:
        child, when = children.start(machines.fill, sample, cache), f"{case.name}, the next run"
        finish(child, sample, cache, result, 1, None, when)


def expect_one_line(outcome: Outcome, result: Result, when: str) -> None:
    """Check that a command has stopped with one line and the status 1 or 2."""
    is_right = outcome.value in (1, 2) and has_one_error_line(outcome)
    result.expect(is_right, f"{when}: status {outcome.value}, printed {outcome.errors[-600:]!r}")
    result.tried["stopped with a one-line message"] += is_right
    if is_right and last_line(outcome.errors) not in result.notes:
        result.notes.append(last_line(outcome.errors))


def _check_mixed(sample: Sample, cache: Path, result: Result) -> None:
    """Check that the shards of a mixed store are those of one machine, or are close and tell that another made them."""
    store, others = open_features(cache), 0
    for entry in store.manifest.shards:
        name = store.shards.path(entry).name
        is_equal = (cache / "shards" / name).read_bytes() == sample.whole[name]
        is_marked = "numerics" in store.manifest.makers[entry.maker]
        others += is_marked
        result.expect(is_equal != is_marked, f"{name} of a mixed store differs: {not is_equal}, marked: {is_marked}")
    X, _ = store.load()
    expected = [np.frombuffer(sample.expected[key] or b"", np.float32) for key in _content_keys(store)]
    largest = max(relative_l2(row.ravel(), right) for row, right in zip(X, expected, strict=True))
    result.expect(0 < largest < TOLERANCE["float32"], f"rows of a mixed store are off by {largest:.1e}")
    result.expect(0 < others < len(sample.whole), f"a mixed store has {others} shards of the other worker")


def _content_keys(store: Any) -> list[bytes]:
    keys = dict(zip(store.images.ids, store.images.content_keys(), strict=True))
    return [keys[id] for id in store.ids()]
