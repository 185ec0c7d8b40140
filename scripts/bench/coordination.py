"""What it costs to coordinate many workers: stage one on a Dask cluster whose conv base sleeps.

The scheduler, the workers, several to a process, and the coordinator run on this machine and talk over tcp. Image files
are made up, nothing is decoded, and the features of an image are 16 bytes. So these figures are of coordination only:
they do not tell how fast a shared file system, a network or a real conv base is. The rest is the code of the pipeline:
the scan, the plan and the index, the tasks, the shards that workers write, the receipts, and the manifest.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import extract_features, scan_images
from pipeline.cluster import Cluster, open_cluster
from pipeline.extraction.plan import MAX_ROWS

from .many_images import simulated_files
from .measuring import ChildFailed, in_child, peak_memory, reset_peak_memory, say
from .results import Figure, figure
from .sizes import Sizes
from .stage_one import StopWatch
from .stand_in import SPEC as TINY

SPEC = replace(TINY, size=1)
MAX_PROCESSES = 4  # of workers
GOAL, GOAL_WORKERS = 0.95, 32
FREE_WORKERS = 8  # when computing costs nothing


@dataclass(frozen=True)
class Run:
    """What a run cost, from the first task to the last listed shard."""

    seconds: float
    efficiency: float  # time that the conv bases sleep, divided by the time that all workers have
    scheduler: float  # seconds of CPU time
    coordinator: float
    peak: int  # bytes of memory of the coordinator


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure runs with more and more workers, then one in which computing costs nothing."""
    figures = []
    for n in sizes.workers:
        run = in_child(fill_store, n, n * sizes.images_per_worker, sizes.sleep, work / f"{n}")
        say(f"  {n} workers: {run}")
        what, goal = f"efficiency of {n} workers", GOAL if n == GOAL_WORKERS else None
        note = f"{sizes.images_per_worker:,} images a worker, which sleeps {1000 * sizes.sleep:g} ms for each"
        figures.append(figure(f"coordination.efficiency.{n}", what, run.efficiency, "", at_least=goal, note=note))
    run = in_child(fill_store, FREE_WORKERS, sizes.planned, 0.0, work / "free")
    say(f"  no cost of computing: {run}")
    n_shards = -(-sizes.planned // MAX_ROWS)
    note = f"{n_shards:,} shards of {sizes.planned:,} images, {FREE_WORKERS} workers that do not sleep"
    return [
        *figures,
        figure("coordination.rate", "shards at no cost of computing", n_shards / run.seconds, "shards/s", note=note),
        figure("coordination.scheduler", "CPU time of the scheduler", run.scheduler, "s", note=note),
        figure("coordination.coordinator", "CPU time of the coordinator", run.coordinator, "s", note=note),
        figure("coordination.peak", "memory of the coordinator", run.peak / 2**20, "MiB", note=note),
    ]


def fill_store(n_workers: int, n_images: int, seconds_per_image: float, work: Path) -> Run:
    """Fill a store with the features of simulated images. Must run in a process that does nothing else."""
    work.mkdir()
    with simulated_files(n_images, changed=False):
        images = scan_images(work)
    with sleeping_cluster(n_workers, seconds_per_image, work) as (cluster, scheduler):
        watch, before = StopWatch(), (_cpu_seconds(scheduler), time.process_time())
        reset_peak_memory()
        extract_features(images, work / "store", SPEC, batch_size=MAX_ROWS, cluster=cluster, callbacks=watch)
        seconds = time.perf_counter() - watch.start
        return Run(
            seconds,
            n_images * seconds_per_image / (n_workers * seconds),
            _cpu_seconds(scheduler) - before[0],
            time.process_time() - before[1],
            peak_memory(),
        )


@contextmanager
def sleeping_cluster(n: int, seconds_per_image: float, work: Path) -> Iterator[tuple[Cluster, int]]:
    """Start a scheduler and n workers; yield the cluster and the process id of the scheduler."""
    file, n_processes = work / "scheduler.json", min(n, MAX_PROCESSES)
    options = (
        "--scheduler-file",
        str(file),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--dashboard-address",
        ":0",
    )
    with ExitStack() as stack:
        scheduler = stack.enter_context(_process("distributed.cli.dask_scheduler", *options))
        while not file.exists():
            _sleep_unless_ended(scheduler)
        workers = [
            stack.enter_context(
                _process(
                    "scripts.bench.sleeping_workers",
                    str(file),
                    str(len(range(i, n, n_processes))),
                    str(seconds_per_image),
                )
            )
            for i in range(n_processes)
        ]
        with open_cluster(str(file)) as cluster:
            while len(cluster.hosts()) < n:
                _sleep_unless_ended(*workers)
            yield cluster, scheduler.pid


@contextmanager
def _process(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    quiet = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical"}
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=quiet)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _sleep_unless_ended(*processes: subprocess.Popen[bytes]) -> None:
    if any(process.poll() is not None for process in processes):
        raise ChildFailed("the scheduler or a process of workers has ended")
    time.sleep(0.1)


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its threads; on Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
