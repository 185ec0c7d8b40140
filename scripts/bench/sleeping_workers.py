"""Workers of a Dask cluster, several in one process, whose conv base sleeps instead of computing.

    python -m scripts.bench.sleeping_workers SCHEDULER N SECONDS_PER_IMAGE

Images are not read and not decoded. What else a worker does is the code of the pipeline: it receives tasks, makes,
writes and syncs shards, and returns receipts.
"""

import asyncio
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from unittest import mock

import numpy as np
from distributed import Worker, get_worker

from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.decode_ahead import Decoded, Task
from pipeline.images.status import Status

from .stand_in import StandIn

THREADS = 2  # of a worker, as the guide recommends and `local:N` has
PIXELS = np.ones((1, 1, 3), np.float32)
_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by the address of the worker


class SleepingConvBase(StandIn):
    """A conv base that takes a fixed time for each image, and serves one thread of a worker at a time."""

    feature_shape = (1, 1, 8)
    seconds_per_image = 0.0

    def compute(self, images: np.ndarray) -> np.ndarray:
        """(b, 1, 1, 3) -> (b, 1, 1, 8), float32; rows of zeros, which fill up a batch, take no time."""
        with _turns[get_worker().address]:
            time.sleep(self.seconds_per_image * np.count_nonzero(images[:, 0, 0, 0]))
        return np.repeat(images[..., :1], self.feature_shape[-1], axis=-1)


def _decode_nothing(tasks: Iterable[Task], *args: Any, **options: Any) -> Iterator[Decoded]:
    for task in tasks:
        yield Decoded(task, PIXELS, Status.OK)


async def _run_workers(scheduler: str, n: int) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(n):
            worker = Worker(scheduler_file=scheduler, nthreads=THREADS, memory_limit=0, dashboard=False)
            await stack.enter_async_context(worker)
        await asyncio.Event().wait()  # the bench ends this process


def main() -> None:
    """Run workers until this process is ended."""
    scheduler, n, SleepingConvBase.seconds_per_image = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

    def load(spec: ConvBaseSpec) -> SleepingConvBase:
        return SleepingConvBase(spec)

    # A process of the pipeline is one worker. Here it is several, which share the conv base but not their places.
    with (
        mock.patch("pipeline.conv_base.load.load_conv_base", load),
        mock.patch("pipeline.extraction.run_conv_base.decode_ahead", _decode_nothing),
        mock.patch("pipeline.extraction.shard_task._places", threading.Semaphore(THREADS * n)),
        mock.patch("pipeline.extraction.shard_task.start_tensorflow_quietly"),
        mock.patch("pipeline.conv_base.start_tensorflow.start_tensorflow_quietly", time.monotonic),
    ):
        asyncio.run(_run_workers(scheduler, n))


if __name__ == "__main__":
    main()
