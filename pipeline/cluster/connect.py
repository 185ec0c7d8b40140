"""`open_cluster`: join a Dask cluster that the user has started, or start one on this machine."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.cluster.run_tasks import CHECK_SECONDS, NONE_SECONDS, TaskRun
from pipeline.cluster.workers import none_left, one_line, usable_workers
from pipeline.errors import ClusterError, ClusterFailed
from pipeline.files.cores import available_cores

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10  # to reach a scheduler
WARN_SECONDS = 5  # without a worker, after which a warning is logged
WORKER_SECONDS = 3600  # to wait for its first worker, which a queue may hold back
MIN_THREADS = 2  # of TensorFlow in a local worker; the one that begins a run computes alone for seconds
LOCAL_THREADS = 2  # of a local worker: while one shard is computed, the images of the next one are decoded
CONFIG = {
    "distributed.scheduler.allowed-failures": 0,  # of a local scheduler: `TaskRun` counts the lost workers of a task
    "distributed.nanny.pre-spawn-environ": {},  # Dask limits numerical libraries to one thread
    "distributed.admin.large-graph-warning-threshold": "1GB",
}
logger = logging.getLogger(__name__)
T = TypeVar("T")


class Cluster:
    """A Dask cluster, made by `open_cluster`.

    Attributes
    ----------
    name : str
        What `open_cluster` was called with.
    cores_per_worker : int or None
        Cores of each worker that was started on this machine; None for a cluster that was joined.
    """

    def __init__(self, client: Client, name: str, cores_per_worker: int | None):
        self.name, self.cores_per_worker = name, cores_per_worker
        self._client = client
        self._first: str | None = None  # the worker of `call`
        self._warm: list[Any] = []
        self._refused: dict[str, str] = {}  # workers that get no more tasks, and why

    def __repr__(self) -> str:
        return f"<Cluster {self.name}: {len(self.hosts())} workers>"

    def hosts(self) -> list[str]:
        """Return the address of the host of each worker."""
        return [re.sub(r"^\w+://|:\d+$", "", address) for address in usable_workers(self._client, self._refused)]

    def wait_for_workers(self) -> None:
        """Wait until there is a worker; ClusterError is raised after an hour, or soon if workers were refused."""
        started, is_warned = time.monotonic(), False
        while not usable_workers(self._client, self._refused):
            seconds = time.monotonic() - started
            if self._refused and seconds > NONE_SECONDS:
                raise ClusterError(none_left(self._refused))
            if seconds > WORKER_SECONDS:
                raise ClusterError(f"{self.name} has no workers; start some, for example `dask worker {self.name}`")
            if seconds > WARN_SECONDS and not is_warned:
                logger.warning("%s has no workers yet; waiting for one", self.name)
                is_warned = True
            time.sleep(CHECK_SECONDS)

    def run(self, function: Callable[[T], Any], tasks: Iterable[T]) -> TaskRun[T]:
        """Call a function of one argument for each task on the workers; iterate over the results."""
        return TaskRun(self._client, function, tasks, self._refused)

    def warm_up(self, function: Callable[[], Any]) -> None:
        """Call a function on every worker, once in the life of a cluster, and do not wait for it."""
        if not self._warm:
            for address in usable_workers(self._client, self._refused):
                self._warm.append(self._client.submit(function, pure=False, workers=[address]))

    def call_elsewhere(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function on every worker but that of `call`, and do not wait for it; errors are ignored."""
        for address in usable_workers(self._client, self._refused):
            if address != self._first:
                self._warm.append(self._client.submit(function, *args, pure=False, workers=[address]))

    def call(self, words: str, function: Callable[..., T], *args: Any) -> T:
        """Call a function on a worker, on the same one as the last time if it lives, and return its result.

        `words` tell what it does, for messages: "loading the conv base".
        """
        self.wait_for_workers()
        run = TaskRun(self._client, _apply, [_Call(words, function, args)], self._refused, self._first)
        for results in run:
            self._first = results[0].worker.address
            return results[0].value
        raise ClusterFailed(f"{words} failed on the cluster: {run.failed[0][1]}")


@dataclass(frozen=True)
class _Call:
    """A task of `Cluster.call`."""

    words: str
    function: Callable[..., Any]
    args: tuple[Any, ...]

    def __str__(self) -> str:
        return self.words


def _apply(call: _Call) -> Any:
    return call.function(*call.args)


@contextlib.contextmanager
def open_cluster(name: str) -> Iterator[Cluster]:
    """Start a Dask cluster on this machine, or join one that the user has started, until the block ends.

    Parameters
    ----------
    name : str
        `local:N` starts N processes on this machine, each with its share of the cores; they accept connections of this
        process alone. `tcp://HOST:PORT`, `tls://HOST:PORT`, or the path of a scheduler file joins a cluster. Whoever
        can reach the port of a `tcp` scheduler can run code on its workers: see Dask's documentation on security.

    Raises
    ------
    ClusterError
        Dask is not installed, `name` is none of these, or no scheduler answers.
    """
    with contextlib.ExitStack() as stack:
        client, cores = _connect(name, stack)
        cluster = Cluster(client, name, cores)
        cluster.wait_for_workers()
        yield cluster


def _connect(name: str, stack: contextlib.ExitStack) -> tuple[Client, int | None]:
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise ClusterError("Dask is not installed: pip install dask distributed cryptography") from None
    stack.enter_context(dask.config.set(CONFIG))
    for other in map(logging.getLogger, ("distributed", "distributed.client", "tornado", "asyncio")):
        stack.callback(other.setLevel, other.level)
        other.setLevel(logging.CRITICAL)  # `TaskRun` reports what matters
    local = re.fullmatch(r"local:([1-9]\d*)", name)
    is_file = Path(name).is_file()
    if not (local or is_file or re.fullmatch(r"(tcp|tls)://.+:\d+", name)):
        raise ClusterError(f"{name!r} is none of local:N, tcp://HOST:PORT, and the path of a scheduler file")
    try:
        if local:
            cores = max(1, available_cores() // int(local[1]))
            address: Any = stack.enter_context(_start_local(int(local[1]), cores))
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS))
            client.run(atexit.register, os._exit, 0)  # TensorFlow would take seconds to end in each worker
            return client, cores
        address = _read_scheduler_file(Path(name)) if is_file else name
        return stack.enter_context(Client(address, timeout=CONNECT_SECONDS)), None
    except (OSError, ValueError, TypeError) as error:  # TypeError: without certificates for TLS
        raise ClusterError(f"no scheduler answers at {name} ({one_line(error)}); start it first") from None


def _read_scheduler_file(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["address"])
    except (OSError, ValueError, LookupError, TypeError):
        raise ClusterError(f"{path} is no file that `dask scheduler --scheduler-file {path}` wrote") from None


def _start_local(n_workers: int, cores: int) -> Any:
    from distributed import LocalCluster

    with _interrupt_signal_blocked():
        return LocalCluster(
            n_workers=n_workers,
            threads_per_worker=LOCAL_THREADS,
            memory_limit=0,
            dashboard_address="localhost:0",  # any free port, for the scheduler's HTTP server; there is no dashboard
            scheduler_kwargs={"dashboard": False},
            silence_logs=logging.CRITICAL,
            security=True,  # other users of this machine cannot connect
            env={
                "TF_NUM_INTRAOP_THREADS": str(max(MIN_THREADS, cores)),
                "LOKY_MAX_CPU_COUNT": str(cores),  # what joblib takes for the number of cores
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
        )


@contextlib.contextmanager
def _interrupt_signal_blocked() -> Iterator[None]:
    """Let the threads and processes that are started ignore Ctrl-C, which a terminal sends to them, too."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
