"""Measure seconds and memory, alternately and in child processes."""

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
    """Print a line of progress to standard error."""
    print(text, file=sys.stderr, flush=True)


def seconds_of(job: Callable[..., object], *arguments: Any) -> float:
    """Return how many seconds a call takes."""
    start = time.perf_counter()
    job(*arguments)
    return time.perf_counter() - start


def alternate(what: str, rounds: int, jobs: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure all jobs once per round (A B A B), because the speed of a shared machine drifts.

    Returns one measurement per round for each job.
    """
    measured: dict[str, list[float]] = {name: [] for name in jobs}
    for i in range(1, rounds + 1):
        for name, job in jobs.items():
            measured[name].append(job())
        latest = ", ".join(f"{name} {values[-1]:.3g}" for name, values in measured.items())
        say(f"  {what}, round {i} of {rounds}: {latest}")
    return measured


def in_child(job: Callable[..., Result], *arguments: Any) -> Result:
    """Call `job` in a new process; the job, its arguments and its result must be picklable."""
    child = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches the parent, which ends this group
    )
    try:
        output, _ = child.communicate(pickle.dumps((job, arguments)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)  # ends the workers of scikit-learn too
        child.wait()
    if child.returncode:
        raise ChildFailed(f"{job.__module__}.{job.__name__} ended with status {child.returncode}")
    result: Result = pickle.loads(output)  # noqa: S301  # written by our own child process
    return result


class ChildFailed(RuntimeError):
    """A process that was measured failed."""


def run_command(*arguments: str | Path) -> float:
    """Return the seconds that a Python process takes from start to end.

    Raises
    ------
    ChildFailed
        Its exit status is not 0.
    """
    start = time.perf_counter()
    process = subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if process.returncode:
        messages = process.stderr.strip().splitlines() or ["no message"]
        raise ChildFailed(f"python {' '.join(map(str, arguments))!r} ended with {process.returncode}: {messages[-1]}")
    return seconds


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    # ru_maxrss is the last resort: a process inherits the value of the process that started it.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def reset_peak_memory() -> None:
    """Let `peak_memory` count from now on; on other systems than Linux it counts from the start of the process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
