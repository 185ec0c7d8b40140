"""A Dask cluster of child processes: the scheduler and each worker can be killed or stopped alone."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import distributed

from pipeline import extract_features
from pipeline.cluster import open_cluster

from . import children, stand_ins
from .children import Child
from .oracle import BATCH, Sample, command
from .stand_ins import tally

THREADS = 2  # of a worker, as many as one that the package starts
MAX_IN_FLIGHT = THREADS + 1  # shards that a worker computes, or whose receipts have not arrived
MAX_SECONDS = 60  # of a run, before it is taken to hang
START_SECONDS = 30  # to start a process
Damage = Callable[[], contextlib.AbstractContextManager[Any]]  # entered in a worker before it starts

logging.getLogger("distributed").setLevel(logging.CRITICAL)
_numbers = count(1)  # of all processes that compute


class Machines:
    """A scheduler and workers, killed when the block ends."""

    def __init__(self, work: Path, *damages: Damage):
        """Describe a cluster with a worker for each damage; `contextlib.nullcontext` is none."""
        self.work, self._damages, self._owner = work / "machines", damages, os.getpid()
        self.workers: list[Child] = []

    def __enter__(self) -> Machines:
        self.work.mkdir(exist_ok=True)
        self.file = self.work / f"scheduler-{next(_numbers)}.json"
        self.scheduler = children.start(_schedule, self.file)
        _wait_for(self.file)
        for damage in self._damages:
            self.start_worker(damage)
        return self

    def __exit__(self, *exception: object) -> None:
        if os.getpid() == self._owner:
            for child in (*self.workers, self.scheduler):
                child.kill()

    def start_worker(self, damage: Damage = contextlib.nullcontext) -> None:
        """Start a worker and wait until the scheduler knows it."""
        number = next(_numbers)
        ready = self.work / f"worker-{number}"
        self.workers.append(children.start(_work, self.file, number, ready, damage))
        _wait_for(ready)

    def kill_worker(self, i: int, damage: Damage = contextlib.nullcontext) -> None:
        """Kill the worker, whether or not it has ended, and start another one."""
        self.workers.pop(i).kill()
        self.start_worker(damage)

    def kill_scheduler(self) -> None:
        """Kill the scheduler; the cluster cannot be used any more."""
        self.scheduler.kill()
        self.scheduler = children.start(stand_ins.do_nothing)  # so that there is a process to kill at the end

    def fill(self, sample: Sample, cache: Path, **options: Any) -> float:
        """Run stage one on the cluster, in a child; return its seconds."""
        faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
        with open_cluster(str(self.file)) as cluster:
            start, tally.stage = time.monotonic(), 1
            extract_features(sample.images, cache, stand_ins.SPEC, batch_size=BATCH, cluster=cluster, **options)
            tally.stage = 2
        return time.monotonic() - start

    def command(self, sample: Sample, cache: Path, *options: str) -> int:
        """Run `features --on` in a child; return its exit status."""
        faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
        with (
            mock.patch.multiple("pipeline.cluster.connect", CONNECT_SECONDS=3, NONE_SECONDS=1),
            mock.patch("pipeline.cluster.run_tasks.NONE_SECONDS", 1),
        ):
            return command(sample, cache, "--on", str(self.file), *options)


def _schedule(file: Path) -> None:
    async def schedule() -> None:
        temporary = str(file.with_suffix(".tmp"))
        async with distributed.Scheduler(
            host="127.0.0.1", port=0, dashboard=False, scheduler_file=temporary
        ) as scheduler:
            os.replace(temporary, file)
            await scheduler.finished()

    asyncio.run(schedule())


def _work(file: Path, number: int, ready: Path, damage: Damage) -> None:
    async def work() -> None:
        async with distributed.Worker(
            scheduler_file=str(file),
            nthreads=THREADS,
            memory_limit=0,
            dashboard=False,
            local_directory=str(ready.parent),
        ) as worker:
            ready.touch()
            await worker.finished()

    tally.process = number
    with damage():
        asyncio.run(work())


def _wait_for(file: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not file.exists():
        if time.monotonic() > end:
            raise SystemExit(f"a process of the cluster does not start: there is no {file}")
        time.sleep(0.005)
