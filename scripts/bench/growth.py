"""How time and memory grow with the number of images, on a conv base that costs next to nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .measuring import in_child, peak_memory, run_command, say
from .photos import make_tiny
from .results import Figure, figure
from .sizes import Sizes
from .stand_in import SPEC, fill

NO_OP = """
import sys
from pipeline.cli.main import main
status = main(sys.argv[1:])
sys.exit("a run with nothing to do imported TensorFlow" if "tensorflow" in sys.modules else status)
"""
NO_OP_GOALS = {4_000: 1.0, 100_000: 10.0}  # images: seconds
STRAIGHT = 1.25  # times the time an image, at most, from the middle size to the largest
MEMORY_FROM, MEMORY_TO, MEMORY_GOAL = 1_000, 25_000, 200  # images, images, MiB
NO_OPS = 2
REPEAT_BELOW = 30_000  # images; a size is measured once for each time it fits in, three times at most


class Run(NamedTuple):
    """One run of stage one."""

    seconds: float  # of scanning and stage one, without the conv base
    peak: int  # bytes of memory


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Stage one and a run with nothing to do, at each size; each run in a process of its own."""
    folder, cache, already = work / "images", work / "store", 0
    runs: dict[int, list[Run]] = {}
    no_ops: dict[int, list[float]] = {}
    for n in sizes.growth:
        make_tiny(folder, n, SPEC.height_width[0], already)
        already = n
        runs[n] = [in_child(run_stage_one, folder, cache) for _ in range(_repeats(n))]
        no_ops[n] = [run_command("-c", NO_OP, *_features(folder, cache)) for _ in range(NO_OPS)]
        say(f"  {n} images: {runs[n][-1].seconds:.2f} s, with nothing to do {no_ops[n][-1]:.2f} s")
    return [*_times(runs), *_no_ops(no_ops), *_memory(runs)]


def run_stage_one(folder: Path, cache: Path) -> Run:
    """Fill a new store in place of an old one; for a process that does nothing else."""
    shutil.rmtree(cache, ignore_errors=True)
    start = time.perf_counter()
    _, in_conv_base = fill(folder, cache)
    return Run(time.perf_counter() - start - in_conv_base, peak_memory())


def _repeats(n: int) -> int:
    return max(1, min(3, REPEAT_BELOW // n))


def _features(folder: Path, cache: Path) -> Iterable[str]:
    size = str(SPEC.height_width[0])
    options = ("--conv-base", SPEC.conv_base, "--weights", SPEC.weights, "--size", size)
    return "features", str(folder), "--cache", str(cache), *options


def _times(runs: dict[int, list[Run]]) -> list[Figure]:
    each = {n: [1000 * run.seconds / n for run in measured] for n, measured in runs.items()}
    figures = [
        figure(f"growth.each.{n}", f"stage one without the conv base, {n:,} images", values, "ms/image")
        for n, values in each.items()
    ]
    largest = max(each)
    middle = max((n for n in each if n <= largest / 10), default=min(each))
    growth = figure(
        "growth.straight",
        f"time an image, {largest:,} against {middle:,}",
        min(each[largest]) / min(each[middle]),
        "x",
        at_most=STRAIGHT,
        note="1 is a straight line",
    )
    return [*figures, growth]


def _no_ops(no_ops: dict[int, list[float]]) -> list[Figure]:
    note = "whole process, in which TensorFlow is not imported"
    return [
        figure(f"growth.no_op.{n}", f"nothing to do, {n:,} images", seconds, "s", at_most=NO_OP_GOALS.get(n), note=note)
        for n, seconds in no_ops.items()
    ]


def _memory(runs: dict[int, list[Run]]) -> list[Figure]:
    mebibytes = {n: [run.peak / 2**20 for run in measured] for n, measured in runs.items()}
    note = "peak resident size, without TensorFlow"
    figures = [
        figure(f"growth.peak.{n}", f"memory, {n:,} images", peaks, "MiB", note=note) for n, peaks in mebibytes.items()
    ]
    if {MEMORY_FROM, MEMORY_TO} <= set(mebibytes):
        more = min(mebibytes[MEMORY_TO]) - min(mebibytes[MEMORY_FROM])
        what = f"memory, {MEMORY_TO:,} images more than {MEMORY_FROM:,}"
        figures.append(figure("growth.memory", what, more, "MiB", at_most=MEMORY_GOAL))
    return figures
