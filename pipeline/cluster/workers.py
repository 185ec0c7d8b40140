"""The workers of a cluster: which there are, and what one returns for a task."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from pipeline.errors import ClusterFailed, PipelineError
from pipeline.text import counted

if TYPE_CHECKING:
    from distributed import Client

LOST = "the scheduler of the cluster is gone; what was finished is kept, and the same command continues"
T = TypeVar("T")


class Worker(NamedTuple):
    """A process that runs tasks."""

    address: str
    host: str


class Failure(NamedTuple):
    """An error that a function raised on a worker, in words."""

    reason: str


class Result(NamedTuple, Generic[T]):
    """What a worker returned for a task, and the seconds that it took."""

    number: int  # of the task
    task: T
    value: Any
    worker: Worker
    seconds: float


@contextlib.contextmanager
def scheduler_needed() -> Iterator[None]:
    """Raise ClusterFailed if the scheduler does not answer."""
    try:
        yield
    except OSError:  # Dask's CommClosedError is one
        raise ClusterFailed(LOST) from None


def usable_workers(client: Client, refused: Collection[str]) -> dict[str, int]:
    """Return the number of threads of each worker that is not refused."""
    if client.status != "running":
        raise ClusterFailed(LOST)
    with scheduler_needed():
        workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: info["nthreads"] for address, info in workers.items() if address not in refused}


def one_line(error: BaseException) -> str:
    """Return an error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def none_left(refused: Mapping[str, str]) -> str:
    """Return the message for a cluster whose workers are all refused."""
    return (
        f"no worker is left: {counted(len(refused), 'worker')} refused, the last one because {[*refused.values()][-1]}"
    )


def run_task(function: Callable[[T], Any], task: T) -> Result[T | None]:
    """Call a function on a worker."""
    from distributed import get_worker

    start = time.monotonic()
    try:
        value = function(task)
    except PipelineError:
        raise
    except Exception as error:
        value = Failure(one_line(error))
    return Result(-1, None, value, Worker(get_worker().address, platform.node()), time.monotonic() - start)
