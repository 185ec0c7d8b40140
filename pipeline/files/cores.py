"""The number of cores that this process may use."""

import os


def available_cores() -> int:
    """Return the number of cores that this process may use; a job of a cluster may have a part of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
