"""The memory that is free, and the memory that heads need, estimated before it is used."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib

from pipeline.heads.pooling import Pool

# Limit, usage, and the field of memory.stat that counts the file cache which the kernel gives back under pressure.
CGROUPS = {
    "sys/fs/cgroup": ("memory.max", "memory.current", "inactive_file"),  # version 2
    "sys/fs/cgroup/memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # version 1
}


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that can be used without swapping; None where the system does not tell.

    On Linux this includes what the file cache gives back, and respects the limit of a container.
    Elsewhere it is the memory of the machine. `root` is the directory with `proc` and `sys`.
    """
    try:
        free = _read_fields(root / "proc/meminfo")["MemAvailable:"] * 1024
    except (OSError, ValueError, KeyError):
        if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
            return None
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for directory, names in CGROUPS.items():
        try:
            limit, usage = (int((root / directory / name).read_text()) for name in names[:2])
            free = min(free, max(0, limit - usage + _read_fields(root / directory / "memory.stat").get(names[2], 0)))
        except (OSError, ValueError):  # no container, or "max": no limit
            continue
    return free


def _read_fields(path: Path) -> dict[str, int]:
    """Read a file of lines `name value ...`."""
    return {name: int(value) for name, value, *_ in map(str.split, path.read_text().splitlines())}


def pooled_bytes(heads: Sequence[Any], train_rows: int, scored_rows: int, row_shape: tuple[int, ...]) -> int:
    """Return the bytes that scikit-learn heads need at their peak, besides features read on demand.

    Features pooled in the same way are held once for all heads. What a head needs during its own
    training is free again afterwards. `train_rows` counts the views, `scored_rows` the other splits.
    """
    width = {head.pool: 4 * Pool(head.pool).fit(None).width(row_shape) for head in heads}  # bytes of a float32 row
    shared = (train_rows + scored_rows) * sum(width.values())
    own = []
    for head in heads:
        threads = joblib.effective_n_jobs(head.n_jobs) if head.searches else 1
        own.append(max(head.training_copies * threads * train_rows, scored_rows) * width[head.pool])
    return shared + max(own, default=0)
