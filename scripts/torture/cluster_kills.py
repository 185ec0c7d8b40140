"""`kill -9` of the workers, the coordinator and the scheduler of a cluster that fills a store."""

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import dask
import numpy as np

from . import children, stand_ins
from .children import Child, list_descendants
from .file_operations import interfered
from .kills import STAGES, fill_and_halt, for_every_step, signalling
from .machines import MAX_IN_FLIGHT, Damage, Machines
from .oracle import Sample, command, examine, faults_when_finished, fill
from .results import Result, has_one_error_line, last_line
from .second_writer import expect_refusals, try_second_writer
from .stand_ins import tally

NONE = contextlib.nullcontext  # no damage
ENDING = 2.0  # seconds that local workers have to end
BATCH_SECONDS = 0.01  # of a slow worker
CONNECTING = 0.1  # seconds that a run takes to find its images and to connect
KILLS, ENDED = STAGES[1], "runs that ended first"


def kill_workers_at_every_step(sample: Sample, work: Path) -> Result:
    """Kill the only worker before each of its file operations, and halfway through each that writes."""
    result = Result("a kill -9 of a worker at every step")
    steps = for_every_step(partial(_kill_worker_at, sample, work, result), result)
    result.expect(steps >= 7 * len(sample.whole), "a worker has fewer steps than writing its shards takes")
    return result.done()


def _kill_worker_at(sample: Sample, work: Path, result: Result, number: int, *, halfway: bool) -> bool:
    cache = new_store(work / "worker-steps")
    with Machines(work, damaged_by_signal(cache, signal.SIGKILL, number, halfway=halfway)) as machines:
        child = children.start(machines.fill, sample, cache)
        while not (killed := machines.workers[0].has_ended()) and not child.has_ended(0.01):
            pass
        if killed:
            result.tried[KILLS] += 1
            machines.kill_worker(0)
        finish(child, sample, cache, result, int(killed), MAX_IN_FLIGHT)
    return killed


def damaged_by_signal(cache: Path, sent: int, number: int, *, halfway: bool) -> Damage:
    """Make a worker send itself a signal at one of its file operations."""
    return partial(interfered, cache, signalling(sent, number, halfway))


def kill_workers_at_random(sample: Sample, work: Path, kills: int, seed: int) -> Result:
    """Kill one worker of three after the other while a run goes on, and start another one for each."""
    result, draw = Result("a kill -9 of workers at random"), random.Random(seed)
    with Machines(work, slowed, slowed, slowed) as machines:
        while result.tried[KILLS] < kills:
            cache, killed = new_store(work / "workers"), 0
            child = children.start(machines.fill, sample, cache)
            while not child.has_ended(draw.uniform(0, sample.seconds)):
                before = tally.stage
                machines.kill_worker(draw.randrange(3), slowed)
                killed += 1 in (before, tally.stage)
            result.tried[KILLS] += killed
            result.tried["runs"] += 1
            finish(child, sample, cache, result, killed, MAX_IN_FLIGHT)
            result.show(min(result.tried[KILLS], kills), kills)
    return result.done()


def kill_coordinators_at_every_step(sample: Sample, work: Path) -> Result:
    """Kill a coordinator before each of its file operations, and halfway through each that writes."""
    result, number = Result("a kill -9 of the coordinator at every step"), 1
    with Machines(work, NONE, NONE) as machines:

        def kill(*, halfway: bool) -> bool:
            cache = new_store(work / "coordinator-steps")
            child = children.start(fill_and_halt, machines.fill, sample, cache, number, halfway)
            if child.halts():
                _kill_coordinator(child, machines, sample, cache, result)
                return True
            finish(child, sample, cache, result, 0, 0)
            return False

        while kill(halfway=False):
            kill(halfway=True)
            result.show(number)
            number += 1
    result.tried["steps"] = number - 1
    result.expect(number > 30, "a coordinator has fewer steps than writing one shard takes")
    expect_refusals(result, result.tried[KILLS])
    return result.done()


def kill_coordinators_at_random(sample: Sample, work: Path, kills: int, seed: int) -> Result:
    """Kill a coordinator at a random moment of each run."""
    result, draw = Result("a kill -9 of the coordinator at random"), random.Random(seed)
    with Machines(work, slowed, slowed) as machines:
        for _ in range(2):  # the first run loads the conv base
            seconds = children.run(machines.fill, sample, new_store(work / "coordinators")).value
        while result.tried[KILLS] < kills and result.tried.total() < 20 * kills:
            cache = new_store(work / "coordinators")
            child = children.start(machines.fill, sample, cache)
            time.sleep(draw.uniform(CONNECTING, CONNECTING + seconds))
            if child.freeze():
                _kill_coordinator(child, machines, sample, cache, result)
            else:
                result.tried[ENDED] += 1
                finish(child, sample, cache, result, 0, 0)
            result.show(result.tried[KILLS], kills)
    expect_refusals(result, result.tried[KILLS])
    return result.done()


def _kill_coordinator(child: Child, machines: Machines, sample: Sample, cache: Path, result: Result) -> None:
    """Let a second coordinator meet a stopped one, kill that, and let a third one finish."""
    result.tried[STAGES[tally.stage]] += 1
    try_second_writer(child.pid, sample, cache, result, machines.fill)
    child.kill()
    result.add(examine(cache, sample), "after a kill")
    finish(children.start(machines.fill, sample, cache), sample, cache, result, 1, MAX_IN_FLIGHT * 2)


def kill_local_coordinators(sample: Sample, work: Path, kills: int, seed: int) -> Result:
    """Kill a coordinator that has started workers itself: they end with it."""
    result, draw = Result("a kill -9 of the coordinator with local workers"), random.Random(seed)
    while result.tried[KILLS] < kills and result.tried.total() < 20 * kills:
        cache = new_store(work / "local")
        child = children.start(_command_with_local_workers, sample, cache)
        while not cache.exists() and not child.has_ended(0.01):
            pass
        if child.has_ended(draw.uniform(0, 2 * sample.seconds)):
            result.tried[ENDED] += 1
        else:
            workers = list_descendants(child.pid)
            result.tried[KILLS if len(workers) > 1 else STAGES[2]] += 1  # a run that is over stops its workers
            os.kill(child.pid, signal.SIGKILL)
            time.sleep(ENDING)
            left = [
                pid for pid in workers if Path(f"/proc/{pid}/fd/0").exists()
            ]  # not those that only wait to be reaped
            result.expect(not left, f"of {len(workers)} local workers {len(left)} outlive a kill")
        child.wait()
        result.add(examine(cache, sample), "after a kill")
        finish(children.start(fill, sample, cache), sample, cache, result, 1, MAX_IN_FLIGHT * 2)
        result.show(result.tried[KILLS], kills)
    return result.done()


def _command_with_local_workers(sample: Sample, cache: Path) -> int:
    with dask.config.set(
        {"distributed.worker.multiprocessing-method": "fork"}
    ):  # with the replacement of the conv base
        return command(sample, cache, "--on", "local:2")


def kill_schedulers(sample: Sample, work: Path, kills: int, seed: int) -> Result:
    """Kill the scheduler at a random moment of a run, which must end with one line; a new cluster finishes."""
    result, draw = Result("a kill -9 of the scheduler"), random.Random(seed)
    with Machines(work, slowed, slowed) as machines:
        seconds = children.run(machines.fill, sample, new_store(work / "schedulers")).value
    while result.tried[KILLS] < kills and result.tried.total() < 20 * kills:
        cache = new_store(work / "schedulers")
        with Machines(work, slowed, slowed) as machines:
            child = children.start(machines.command, sample, cache)
            ended = child.has_ended(draw.uniform(0, CONNECTING + seconds))
            result.tried[ENDED if ended else KILLS if cache.exists() else STAGES[0]] += 1
            machines.kill_scheduler()
            outcome = child.wait()
        if outcome.value != 0:
            is_right = outcome.value in ((1,) if cache.exists() else (1, 2)) and "scheduler" in last_line(
                outcome.errors
            )
            text = f"a run without a scheduler ended with {outcome.value}: {outcome.errors[-300:]}"
            result.expect(is_right and has_one_error_line(outcome), text)
            result.tried["stopped with a one-line message"] += is_right
        result.add(examine(cache, sample), "after a kill")
        with Machines(work, NONE, NONE) as machines:
            finish(children.start(machines.fill, sample, cache), sample, cache, result, 1, MAX_IN_FLIGHT * 2)
        result.show(result.tried[KILLS], kills)
    return result.done()


@contextlib.contextmanager
def slowed() -> Iterator[None]:
    """Make a worker compute slowly, so that a kill finds it computing."""
    real = stand_ins.quarters

    def compute(batch: np.ndarray) -> np.ndarray:
        time.sleep(BATCH_SECONDS)
        return real(batch)

    with mock.patch.object(stand_ins, "quarters", compute):
        yield


def new_store(cache: Path) -> Path:
    """Delete a store, set the tally back, and return the directory of the store."""
    shutil.rmtree(cache, ignore_errors=True)
    tally.clear()
    return cache


def finish(
    child: Child, sample: Sample, cache: Path, result: Result, kills: int, allowed: int | None, when: str = "at the end"
) -> None:
    """Wait for a run, compare its store with the uninterrupted one, and count what was computed more than once.

    `allowed` is the number of shards that a kill may cost; with None this is not counted.
    """
    if not result.ran(child.wait(), when):
        return
    if any((cache / "shards").glob(".done-*")):  # of a task that ran twice, as its first worker was slow
        result.tried["late shards removed"] += 1
        result.ran(children.run(fill, sample, cache), f"{when}, the next run")
    result.add(examine(cache, sample), when)
    for fault in faults_when_finished(cache, sample):
        result.expect(False, f"{when}: {fault}")
    if allowed is None:
        return
    redone = (tally.computed - sample.rows) / sample.shard_rows
    result.redone = max(result.redone or 0.0, redone / max(kills, 1))
    result.expect(redone <= allowed * kills, f"{when}: {kills} kills cost {redone:.2f} shards")
