"""The number of cores that this process may use."""

import contextlib
import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # of a control group, version 2: microseconds of a period, or `max`


def available_cores() -> int:
    """Return the number of cores that this process may use: a job or a container may have a part of the machine."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no control group, or no limit
        quota, period = CPU_MAX.read_text().split()
        return max(1, min(affinity, round(int(quota) / int(period))))
    return affinity
