"""The growth of time and memory with the number of images, with a conv base that costs almost nothing."""

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .measuring import in_child, peak_memory, run_command, say
from .photos import make_tiny
from .results import Figure, figure
from .sizes import Sizes
from .stand_in import SPEC, fill_store

NO_OP = """
import sys
from pipeline.cli.main import main
status = main(sys.argv[1:])
sys.exit("a run with nothing to do imported TensorFlow" if "tensorflow" in sys.modules else status)
"""
NO_OP_GOALS = {4_000: 1.0, 100_000: 10.0}  # images: seconds
MAX_GROWTH = 1.25  # of the time per image, from the middle size to the largest
MEMORY_FROM, MEMORY_TO, MEMORY_GOAL = 1_000, 25_000, 200  # images, images, MiB
NO_OP_RUNS = 2
MAX_RUNS, IMAGES_PER_SIZE = 3, 30_000  # small sizes are measured several times, up to this number of images


class Run(NamedTuple):
    """Time and memory of one run of stage one."""

    seconds: float  # of scanning and stage one, without the conv base
    peak: int  # bytes of memory


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure stage one and a run without work at each size; each run has its own process."""
    folder, cache, n_existing = work / "images", work / "store", 0
    runs: dict[int, list[Run]] = {}
    no_ops: dict[int, list[float]] = {}
    for n in sizes.growth:
        make_tiny(folder, n, SPEC.height_width[0], n_existing)
        n_existing = n
        runs[n] = [in_child(run_stage_one, folder, cache) for _ in range(_runs(n))]
        no_ops[n] = [run_command("-c", NO_OP, *_features_command(folder, cache)) for _ in range(NO_OP_RUNS)]
        say(f"  {n} images: {runs[n][-1].seconds:.2f} s, with nothing to do {no_ops[n][-1]:.2f} s")
    return [*_time_figures(runs), *_no_op_figures(no_ops), *_memory_figures(runs)]


def run_stage_one(folder: Path, cache: Path) -> Run:
    """Fill a new store; an old one is deleted. Must run in a process that does nothing else."""
    shutil.rmtree(cache, ignore_errors=True)
    start = time.perf_counter()
    _, in_conv_base = fill_store(folder, cache)
    return Run(time.perf_counter() - start - in_conv_base, peak_memory())


def _runs(n: int) -> int:
    return max(1, min(MAX_RUNS, IMAGES_PER_SIZE // n))


def _features_command(folder: Path, cache: Path) -> Iterable[str]:
    size = str(SPEC.height_width[0])
    options = ("--conv-base", SPEC.conv_base, "--weights", SPEC.weights, "--size", size)
    return "features", str(folder), "--cache", str(cache), *options


def _time_figures(runs: dict[int, list[Run]]) -> list[Figure]:
    milliseconds = {n: [1000 * run.seconds / n for run in measured] for n, measured in runs.items()}
    figures = [
        figure(f"growth.each.{n}", f"stage one without the conv base, {n:,} images", values, "ms/image")
        for n, values in milliseconds.items()
    ]
    largest = max(milliseconds)
    middle = max((n for n in milliseconds if n <= largest / 10), default=min(milliseconds))
    growth = figure(
        "growth.straight",
        f"time per image, {largest:,} images compared with {middle:,}",
        min(milliseconds[largest]) / min(milliseconds[middle]),
        "x",
        at_most=MAX_GROWTH,
        note="1 is a straight line",
    )
    return [*figures, growth]


def _no_op_figures(no_ops: dict[int, list[float]]) -> list[Figure]:
    note = "whole process, in which TensorFlow is not imported"
    return [
        figure(
            f"growth.no_op.{n}",
            f"second run, everything cached, {n:,} images",
            seconds,
            "s",
            at_most=NO_OP_GOALS.get(n),
            note=note,
        )
        for n, seconds in no_ops.items()
    ]


def _memory_figures(runs: dict[int, list[Run]]) -> list[Figure]:
    mebibytes = {n: [run.peak / 2**20 for run in measured] for n, measured in runs.items()}
    note = "peak resident size, without TensorFlow"
    figures = [
        figure(f"growth.peak.{n}", f"memory, {n:,} images", peaks, "MiB", note=note) for n, peaks in mebibytes.items()
    ]
    if {MEMORY_FROM, MEMORY_TO} <= set(mebibytes):
        difference = min(mebibytes[MEMORY_TO]) - min(mebibytes[MEMORY_FROM])
        what = f"additional memory, {MEMORY_TO:,} images compared with {MEMORY_FROM:,}"
        figures.append(figure("growth.memory", what, difference, "MiB", at_most=MEMORY_GOAL))
    return figures
