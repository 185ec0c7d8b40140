"""The rate at which a worker of a cluster compares rows in a search for duplicates.

`python -m scripts.bench.duplicates_rate` measures one worker with one core, and computes from its rate how long
32 workers take for 1,000,000 rows. Reading the features and the pictures is not part of it.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.defaults import THRESHOLD
from pipeline.duplicates.on_cluster import BLOCKS_PER_TASK, IS_READ, PICTURES, ROWS, CompareTask, Job, compare_rows
from pipeline.duplicates.same_picture import PIXELS
from pipeline.duplicates.similar_features import BLOCK_ROWS, list_blocks, standardise_rows
from pipeline.extraction.callbacks import SILENT

from .measuring import say
from .pooled import WIDTH, make_pooled
from .results import Figure, figure

MEASURED_ROWS = 8 * BLOCK_ROWS
ROWS_TO_COMPARE, WORKERS = 1_000_000, 32
CORES = 1  # of the worker


def measure_duplicates_rate(n: int = MEASURED_ROWS) -> list[Figure]:
    """Measure pairs of rows a second, with the very function that workers run."""
    n_pairs, seconds = compare_synthetic_rows(n)
    whole = ROWS_TO_COMPARE**2 / 2 / (n_pairs / seconds) / WORKERS
    note = f"{n_pairs:,} pairs of {n:,} x {WIDTH:,} in {seconds:.1f} s, one core, files in the page cache"
    computed = f"computed from the rate of one worker, not measured: {ROWS_TO_COMPARE:,} x {WIDTH:,}, comparing only"
    return [
        figure("duplicates.rate", "duplicates, pairs of rows a second of a worker", n_pairs / seconds, "/s", note=note),
        figure("duplicates.whole", f"duplicates on {WORKERS} such workers", whole / 60, "min", note=computed),
    ]


def compare_synthetic_rows(n: int) -> tuple[int, float]:
    """Compare n rows, correlated as those of photos; return the number of pairs and the seconds."""
    with tempfile.TemporaryDirectory() as work:
        files = Path(work)
        with open(files / ROWS, "x+b") as file:
            file.write(make_pooled(n)[0].astype(np.float32).tobytes())
            standardise_rows(file, n, SILENT)
        pictures = np.random.default_rng(0).integers(0, 256, (n, PIXELS), np.uint8)
        (files / PICTURES).write_bytes(pictures.tobytes())
        np.save(files / IS_READ, np.ones(n, bool))
        job = Job(files, "", files, n, THRESHOLD, CORES)
        tasks = [CompareTask(job, blocks) for blocks in list_blocks(n, BLOCKS_PER_TASK)]
        compare_rows(tasks[-1])
        start = time.perf_counter()
        for task in tasks:
            compare_rows(task)
        return sum(task.blocks.count_pairs(n) for task in tasks), time.perf_counter() - start


if __name__ == "__main__":
    for shown in measure_duplicates_rate():
        say(f"{shown.what}: {shown.value:,.3g} {shown.unit} ({shown.note})")
