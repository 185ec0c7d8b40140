"""Clocks, rounds, and processes of their own."""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def seconds_of(job: Callable[..., object], *arguments: Any) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    job(*arguments)
    return time.perf_counter() - start


def in_turn(what: str, rounds: int, jobs: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """What each job measures, a number a round; A B A B, as a shared machine drifts."""
    measured: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(1, rounds + 1):
        for name, job in jobs.items():
            measured[name].append(job())
        latest = ", ".join(f"{name} {values[-1]:.3g}" for name, values in measured.items())
        say(f"  {what}, round {number} of {rounds}: {latest}")
    return measured


def in_child(job: Callable[..., Result], *arguments: Any) -> Result:
    """Call `job` in a fresh process; both it and what it returns must be importable and picklable."""
    child = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is the parent's business, which ends this group
    )
    try:
        answer, _ = child.communicate(pickle.dumps((job, arguments)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)  # workers of scikit-learn too, if it did not get to its end
        child.wait()
    if child.returncode:
        raise ChildFailed(f"{job.__module__}.{job.__name__} ended with status {child.returncode}")
    result: Result = pickle.loads(answer)  # noqa: S301  # our own child wrote it
    return result


class ChildFailed(RuntimeError):
    """A process that was measured did not end well."""


def run_command(*arguments: str | Path) -> float:
    """Seconds that a Python process takes from its start to its end.

    Raises
    ------
    ChildFailed
        It did not end well.
    """
    start = time.perf_counter()
    ended = subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["nothing said"]
        raise ChildFailed(f"python {' '.join(map(str, arguments))!r} ended with {ended.returncode}: {said[-1]}")
    return seconds


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    # Not ru_maxrss where it can be helped: a process starts with that of whoever started it.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
