"""`kill -9` at random moments and at every step; before each kill a second writer tries to write."""

import fcntl
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from pipeline.errors import StoreBusy

from . import children, stand_ins
from .children import Child
from .file_operations import Operation, interfered
from .oracle import BATCH, Sample, examine, faults_when_finished, fill
from .results import Result
from .stand_ins import tally

NOTHING_TO_DO = "no error"
STAGES = ("kills before the run", "kills in the run", "kills after the run")


def kill_at_random(sample: Sample, work: Path, kills: int, seed: int) -> Result:
    """Kill stage one repeatedly, at moments drawn uniformly over the work that is left.

    A store that is complete is checked, and a new one is started. Only kills that hit a run count.
    """
    result, cache, draw = Result("a kill -9 at random"), work / "random", random.Random(seed)
    kept, counted = 0, STAGES[1]
    while result.tried[counted] < kills and result.tried.total() < 20 * kills:
        tally.clear()
        child = children.start(fill, sample, cache)
        time.sleep(draw.uniform(0, sample.seconds * max(1 - kept / sample.rows, 0.2)))
        if child.freeze():
            result.tried[STAGES[tally.stage]] += 1
            kept = _strike(child, sample, cache, kept, result)
        else:
            result.tried["runs that ended first"] += 1
            _check_finished(child, sample, cache, kept, result)
            kept = sample.rows
        if kept == sample.rows:
            _finish(sample, cache, kept, result)
            shutil.rmtree(cache)
            kept = 0
        result.show(result.tried[counted], kills)
    _finish(sample, cache, kept, result)
    _expect_refusals(result)
    return result.done()


def kill_at_every_step(sample: Sample, work: Path) -> Result:
    """Kill a run before each of its file operations, and halfway through each that writes.

    The state after an operation is the state before the next one. There is always a next one: files
    that were written are closed, and a run releases its lock.
    """
    result, number = Result("a kill -9 at every step"), 1
    while _kill_at(sample, work, number, result, halfway=False):
        _kill_at(sample, work, number, result, halfway=True)
        result.show(number)
        number += 1
    result.tried["steps"] = number - 1
    result.expect(result.tried["kills in the run"] > 30, "a run has fewer steps than writing one shard takes")
    _expect_refusals(result)
    return result.done()


def _kill_at(sample: Sample, work: Path, number: int, result: Result, *, halfway: bool) -> bool:
    """Kill one run; return False if the run has no such operation."""
    cache = work / "steps"
    shutil.rmtree(cache, ignore_errors=True)
    tally.clear()
    child = children.start(_fill_and_halt, sample, cache, number, halfway)
    if not child.halts():
        _check_finished(child, sample, cache, 0, result)
        return False
    result.tried["kills in the run"] += 1
    _finish(sample, cache, _strike(child, sample, cache, 0, result), result)
    return True


def _fill_and_halt(sample: Sample, cache: Path, number: int, halfway: bool) -> None:
    def interfere(operation: Operation) -> Any:
        if operation.number == number and (operation.name == "os.write" or not halfway):
            if halfway:
                descriptor, data = operation.args
                operation.real(descriptor, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGSTOP)
        return operation()

    with interfered(cache, interfere):
        fill(sample, cache)


def _strike(child: Child, sample: Sample, cache: Path, kept: int, result: Result) -> int:
    """Let a second writer meet a frozen run, kill the run and check the store; return the rows that were kept."""
    _try_second_writer(child.pid, sample, cache, result)
    computed = tally.computed
    child.kill()
    found = examine(cache, sample)
    result.add(found, "after a kill")
    lost = (kept + computed - found.kept) / sample.shard_rows
    result.redone = max(result.redone or 0.0, lost)
    computed_ahead = 2 * BATCH / sample.shard_rows if stand_ins.SPEC.precision == "int8" else 0
    result.expect(
        lost <= 1 + computed_ahead,
        f"a kill cost {lost:.2f} shards: of {computed} rows {found.kept - kept} were kept",
    )
    return found.kept


def _try_second_writer(holder: int, sample: Sample, cache: Path, result: Result) -> None:
    if not _is_locked(cache):
        result.tried["moments without a lock"] += 1
        return
    before, computed = _contents(cache), tally.computed
    outcome = children.run(_refusal, sample, cache)
    untouched = _contents(cache) == before and tally.computed == computed
    result.expect(untouched, f"a second writer touched the store of process {holder}")
    if outcome.value == NOTHING_TO_DO and not faults_when_finished(cache, sample):
        result.tried["second writers with nothing to do"] += 1  # all shards are listed, the holder is about to end
        return
    message = f"{outcome.value} {outcome.errors[-200:]}"
    named = f"process {holder} " in message or (_named_holder(cache) != holder and "another process" in message)
    result.expect(named, f"a second writer met process {holder} with: {message}")
    result.tried["second writers refused"] += named


def _expect_refusals(result: Result) -> None:
    """Check that enough second writers met the lock; on a busy machine runs hold no lock for much of their time."""
    refused, kills = result.tried["second writers refused"], result.tried[STAGES[1]]
    result.expect(10 * refused >= kills, f"of {kills} runs only {refused} were found to refuse a second writer")


def _refusal(sample: Sample, cache: Path) -> str:
    try:
        fill(sample, cache)
    except StoreBusy as error:
        return str(error)
    return NOTHING_TO_DO


def _is_locked(cache: Path) -> bool:
    """Ask the kernel, not the package, whether a store is locked."""
    try:
        descriptor = os.open(cache / ".lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _named_holder(cache: Path) -> int | None:
    try:
        return int(json.loads((cache / ".writer.json").read_text())["pid"])
    except (OSError, ValueError):
        return None


def _contents(cache: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def _finish(sample: Sample, cache: Path, kept: int, result: Result) -> None:
    tally.clear()
    _check_finished(children.start(fill, sample, cache), sample, cache, kept, result)


def _check_finished(child: Child, sample: Sample, cache: Path, kept: int, result: Result) -> None:
    if result.ran(child.wait(), "a run without a kill"):
        result.add(examine(cache, sample), "at the end")
        for fault in faults_when_finished(cache, sample):
            result.expect(False, f"at the end: {fault}")
        missing = sample.rows - kept
        result.expect(tally.computed == missing, f"a run computed {tally.computed} rows where {missing} were missing")
