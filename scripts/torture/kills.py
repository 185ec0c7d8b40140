"""`kill -9` at random moments and at every step; before each kill a second writer tries to write."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import children, stand_ins
from .children import Child
from .file_operations import Operation, interfered
from .oracle import BATCH, Fill, Sample, examine, faults_when_finished, fill
from .results import Result
from .second_writer import expect_refusals, try_second_writer
from .stand_ins import tally

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
    expect_refusals(result, result.tried[STAGES[1]])
    return result.done()


def kill_at_every_step(sample: Sample, work: Path) -> Result:
    """Kill a run before each of its file operations, and halfway through each that writes.

    The state after an operation is the state before the next one. There is always a next one: files
    that were written are closed, and a run releases its lock.
    """
    result = Result("a kill -9 at every step")
    for_every_step(partial(_kill_at, sample, work, result), result)
    result.expect(result.tried["kills in the run"] > 30, "a run has fewer steps than writing one shard takes")
    expect_refusals(result, result.tried[STAGES[1]])
    return result.done()


def for_every_step(kill_at: Callable[..., bool], result: Result) -> int:
    """Call `kill_at(number, halfway=...)` for each step of a run, until it returns False; return their number."""
    number = 1
    while kill_at(number, halfway=False):
        kill_at(number, halfway=True)
        result.show(number)
        number += 1
    result.tried["steps"] = number - 1
    return number - 1


def _kill_at(sample: Sample, work: Path, result: Result, number: int, *, halfway: bool) -> bool:
    """Kill one run; return False if the run has no such operation."""
    cache = work / "steps"
    shutil.rmtree(cache, ignore_errors=True)
    tally.clear()
    child = children.start(fill_and_halt, fill, sample, cache, number, halfway)
    if not child.halts():
        _check_finished(child, sample, cache, 0, result)
        return False
    result.tried["kills in the run"] += 1
    _finish(sample, cache, _strike(child, sample, cache, 0, result), result)
    return True


def fill_and_halt(fill: Fill, sample: Sample, cache: Path, number: int, halfway: bool) -> None:
    """Run stage one, in a child that stops before a file operation or, if that writes, halfway through it."""
    with interfered(cache, signalling(signal.SIGSTOP, number, halfway)):
        fill(sample, cache)


def signalling(sent: int, number: int, halfway: bool) -> Callable[[Operation], Any]:
    """Return a function for `interfered` that sends this process a signal before an operation, or halfway through."""

    def interfere(operation: Operation) -> Any:
        if operation.number == number and (operation.name == "os.write" or not halfway):
            if halfway:
                descriptor, data = operation.args
                operation.real(descriptor, data[: len(data) // 2])
            os.kill(os.getpid(), sent)
        return operation()

    return interfere


def _strike(child: Child, sample: Sample, cache: Path, kept: int, result: Result) -> int:
    """Let a second writer meet a frozen run, kill the run and check the store; return the rows that were kept."""
    try_second_writer(child.pid, sample, cache, result)
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
