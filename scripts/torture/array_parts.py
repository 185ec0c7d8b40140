"""`features --part I/N`: kills of parts, which run beside one another and beside a plain run."""

import random
import signal
from functools import partial
from pathlib import Path

from pipeline import extract_features
from pipeline.extraction.compute_part import compute_part

from . import children, stand_ins
from .children import Child
from .cluster_kills import KILLS, finish, new_store
from .file_operations import interfered
from .kills import for_every_step, signalling
from .oracle import BATCH, Sample, fill
from .results import Result
from .stand_ins import tally

PARTS = 3
MAX_WAIT = 0.15  # seconds between two kills, about what a part takes
MAX_KILLS = 20  # of a store
PLAIN = PARTS + 1  # number of the process that runs `features` without a part


def kill_parts_at_every_step(sample: Sample, work: Path) -> Result:
    """Kill a part before each of its file operations, and halfway through each that writes; then start it again."""
    result = Result("a kill -9 of an array's part at every step")
    steps = for_every_step(partial(_kill_part_at, sample, work, result), result)
    result.expect(steps >= 7 * len(sample.whole), "a part has fewer steps than writing its shards takes")
    return result.done()


def _kill_part_at(sample: Sample, work: Path, result: Result, number: int, *, halfway: bool) -> bool:
    cache = _plan(sample, work / "part-steps", result)
    killed = children.run(_compute_and_end, cache, number, halfway).status == -signal.SIGKILL
    if killed:
        result.tried[KILLS] += 1
        result.ran(children.run(_compute, cache, 1, 1), "a part that was started again")
    finish(children.start(fill, sample, cache), sample, cache, result, int(killed), 1)
    return killed


def _compute_and_end(cache: Path, number: int, halfway: bool) -> None:
    with interfered(cache, signalling(signal.SIGKILL, number, halfway)):
        _compute(cache, 1, 1)


def kill_parts_at_random(sample: Sample, work: Path, kills: int, seed: int) -> Result:
    """Kill parts that run at the same time and start them again; in every second store a plain run joins them."""
    result, draw = Result("a kill -9 of parts at random"), random.Random(seed)
    while result.tried[KILLS] < kills:
        cache, with_plain = _plan(sample, work / "parts", result), bool(result.tried["stores"] % 2)
        killed = _kill_until_all_end(sample, cache, with_plain, draw, result)
        result.tried[KILLS] += killed
        result.tried["stores"] += 1
        result.tried["with a plain run beside them"] += with_plain
        if with_plain:  # what both compute at the same time is computed twice, without a kill
            killed = len(sample.whole)
        finish(children.start(fill, sample, cache), sample, cache, result, killed, 1)
        result.show(min(result.tried[KILLS], kills), kills)
    return result.done()


def _kill_until_all_end(sample: Sample, cache: Path, with_plain: bool, draw: random.Random, result: Result) -> int:
    """Kill and restart processes until all have ended; return the number of kills."""
    running = {number: _start(sample, cache, number) for number in range(1, PARTS + 1)}
    kills = 0
    while running:
        number = draw.choice(sorted(running))
        if running[number].has_ended(draw.uniform(0, MAX_WAIT)) or kills == MAX_KILLS:
            name = "a plain run" if number == PLAIN else f"part {number}"
            result.ran(running.pop(number).wait(), name)
        else:
            running[number].kill()
            kills += 1
            running[number] = _start(sample, cache, number)
        if with_plain and kills > 1 and PLAIN not in running:
            running[PLAIN], with_plain = _start(sample, cache, PLAIN), False
    return kills


def _start(sample: Sample, cache: Path, number: int) -> Child:
    if number == PLAIN:
        return children.start(fill, sample, cache)
    return children.start(_compute, cache, number, PARTS)


def _plan(sample: Sample, cache: Path, result: Result) -> Path:
    """Write the plan of a new store, and return its directory."""
    result.ran(children.run(_write_plan, sample, new_store(cache)), "the plan")
    tally.clear()  # a plan computes some rows to tell how long the others take
    return cache


def _write_plan(sample: Sample, cache: Path) -> None:
    extract_features(sample.images, cache, stand_ins.SPEC, batch_size=BATCH, plan_only=True)


def _compute(cache: Path, number: int, parts: int) -> None:
    tally.process = number
    compute_part(cache, number, parts, stand_ins.SPEC, batch_size=BATCH, workers=1)
