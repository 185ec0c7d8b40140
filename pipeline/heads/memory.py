"""How much memory heads take, said before it is taken."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib

from pipeline.heads.pooling import Pool

FLOAT32 = 4  # bytes


def available_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell.

    Linux counts what its file cache would give back, and the limit of a container. Elsewhere it is
    what the machine has.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
            return None
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or "max": no limit
        return free


def pooled_bytes(heads: Sequence[Any], train_rows: int, scored_rows: int, row_shape: tuple[int, ...]) -> int:
    """The most that scikit-learn heads take on top of features read on demand.

    Each way of pooling is kept once for all of them; what a head takes while it trains it gives back.

    Parameters
    ----------
    heads : sequence of PipelineHead
    train_rows, scored_rows : int
    row_shape : tuple of int

    Returns
    -------
    int
        Bytes.
    """
    width = {head.pool: FLOAT32 * Pool(head.pool).fit(None).width(row_shape) for head in heads}
    kept = (train_rows + scored_rows) * sum(width.values())
    own = [max(head.training_copies * _threads(head) * train_rows, scored_rows) * width[head.pool] for head in heads]
    return kept + max(own, default=0)


def _threads(head: Any) -> int:
    return joblib.effective_n_jobs(head.n_jobs) if head.searches else 1
