"""`TaskRun`: call a function for many tasks on the workers of a cluster, whatever happens to the workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import uuid4

from pipeline.cluster.workers import (
    LOST,
    Failure,
    Result,
    Worker,
    none_left,
    one_line,
    run_task,
    scheduler_needed,
    usable_workers,
)
from pipeline.errors import ClusterError, ClusterFailed, PipelineError
from pipeline.text import counted

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)
MAX_ATTEMPTS = 10  # of a task
MAX_FAILURES = 3  # tasks in a row that a worker fails
MAX_COPIES = 3  # of a task that takes long
NONE_SECONDS = 10.0  # without a worker that is not refused, after which a run ends
MAX_FAILED = 10  # tasks that fail for good before one succeeds
THREADS_USED = 2  # of a worker, however many it has
CHECK_SECONDS = 1.0  # between two looks at the workers while no result comes
SLOW = 3.0  # times the median duration, after which a task is submitted to another worker, too
SLOW_SECONDS = 5.0  # at least
SILENT_SECONDS = 300.0  # without a result, after which a warning is logged
NOWHERE = "nowhere"  # no address of a worker
T = TypeVar("T")


@dataclass
class _Running(Generic[T]):
    """A task that was submitted, at most `MAX_COPIES` times at the same time."""

    task: T
    failures: int = 0
    since: float = field(default_factory=time.monotonic)
    futures: list[Future[Any]] = field(default_factory=list)
    places: set[str] = field(default_factory=set)  # the workers that may run it; any if this is empty
    avoided: str | None = None  # the worker on which it failed last

    def cancel(self) -> None:
        """Cancel what has not begun; what runs is not interrupted, and its result is ignored."""
        for future in self.futures:
            if not future.done():
                future.cancel()


class TaskRun(Generic[T]):
    """Results of tasks as they come, in any order, some at a time; made by `Cluster.run`.

    A few tasks for each worker are submitted at a time. A task whose worker was lost, or whose function raised an
    error, is submitted again, up to `MAX_ATTEMPTS` times; then it is added to `failed`. A worker that fails
    `MAX_FAILURES` tasks in a row gets no more tasks while there are others. A `PipelineError` ends the run.
    When no task is left to submit, those that take long run on other workers too, and the first result counts.
    If the iteration ends early, tasks that have not begun are cancelled. `first` is the address of a worker that gets
    all tasks while it lives.

    Attributes
    ----------
    failed : list of (task, reason)
        Tasks without a result.
    """

    def __init__(
        self,
        client: Client,
        function: Callable[[T], Any],
        tasks: Iterable[T],
        refused: dict[str, str],
        first: str | None = None,
    ) -> None:
        self.failed: list[tuple[T, str]] = []
        self._client, self._function, self._tasks, self._refused = client, function, iter(tasks), refused
        self._submitted, self._is_exhausted = 0, False
        self._running: dict[int, _Running[T]] = {}  # by the number of the task
        self._outcomes: queue.SimpleQueue[tuple[int, Future[Any], Any]] = queue.SimpleQueue()
        self._seconds: list[float] = []  # of each result
        self._workers: dict[str, int] = {}  # threads of each worker that gets tasks, by its address
        self._first = first
        self._failed_on: dict[str, set[int]] = {}  # tasks that a worker failed since it last finished one
        self._none_since: float | None = None  # when the last usable worker was lost
        self._next_check, self._next_warning = 0.0, time.monotonic() + SILENT_SECONDS

    def __iter__(self) -> Iterator[list[Result[T]]]:
        try:
            while self._submit_new():
                if results := list(self._take_results()):
                    yield results
        finally:
            for running in self._running.values():
                running.cancel()

    def run_again(self, result: Result[T], task: T) -> None:
        """Submit the task of a result again, changed to `task`."""
        self._submit(result.number, _Running(task))

    def refuse(self, result: Result[T], reason: str) -> None:
        """Give no more tasks to the worker of a result, and submit its task again."""
        self._refuse(result.worker, reason)
        self._submit(result.number, _Running(result.task))

    def _refuse(self, worker: Worker, reason: str) -> None:
        if worker.address not in self._refused:
            logger.warning("%s on %s gets no more tasks: %s", *worker, reason)
            self._refused[worker.address] = reason
            self._check_workers()

    def _submit_new(self) -> bool:
        """Submit as many tasks as the workers can take; return False if all tasks are done."""
        if time.monotonic() >= self._next_check:
            self._check_workers()
        slots = sum(min(threads, THREADS_USED) + 1 for threads in self._workers.values())
        while not self._is_exhausted and len(self._running) < slots:
            try:
                task = next(self._tasks)
            except StopIteration:
                self._is_exhausted = True
            else:
                self._submit(self._submitted, _Running(task))
                self._submitted += 1
        return bool(self._running) or not self._is_exhausted

    def _take_results(self) -> Iterator[Result[T]]:
        """Wait a moment for a result, and take all that have come."""
        with contextlib.suppress(queue.Empty):
            number, future, outcome = self._outcomes.get(timeout=CHECK_SECONDS)
            while True:
                running = self._running.get(number)
                if running is None or future not in running.futures:
                    pass  # the task ran twice, and the other result was first; or it was submitted again
                elif isinstance(outcome, BaseException):
                    self._handle_lost(number, running, future, outcome)
                elif isinstance(outcome.value, Failure):
                    self._handle_failure(number, running, future, outcome)
                else:
                    del self._running[number]
                    running.cancel()
                    self._seconds.append(outcome.seconds)
                    self._failed_on.pop(outcome.worker.address, None)
                    self._next_warning = time.monotonic() + SILENT_SECONDS
                    yield outcome._replace(number=number, task=running.task)
                number, future, outcome = self._outcomes.get_nowait()

    def _check_workers(self) -> None:
        self._next_check = time.monotonic() + CHECK_SECONDS
        workers = usable_workers(self._client, self._refused)
        if self._workers and not workers:
            logger.warning("no worker is left; waiting for new ones")
        self._workers = workers
        self._none_since = None if workers else self._none_since or time.monotonic()
        if self._none_since and self._refused and time.monotonic() - self._none_since > NONE_SECONDS:
            raise ClusterError(none_left(self._refused))
        for number, running in list(self._running.items()):
            if workers and running.places and running.places.isdisjoint(workers):
                running.cancel()
                self._submit(number, _Running(running.task, running.failures))
        if self._is_exhausted and self._seconds:
            self._copy_slow_tasks()
        if time.monotonic() > self._next_warning and self._running:
            self._next_warning = time.monotonic() + SILENT_SECONDS
            oldest = min(self._running.values(), key=lambda running: running.since)
            n_workers, minutes = counted(len(self._workers), "worker"), (time.monotonic() - oldest.since) / 60
            logger.warning("%s: no result yet after %.0f minutes, on %s", oldest.task, minutes, n_workers)

    def _copy_slow_tasks(self) -> None:
        """Submit the tasks that take long to workers that do nothing; all others are done or run."""
        with scheduler_needed():
            busy = {address: set(keys) for address, keys in self._client.processing().items()}
        n_idle = sum(not busy.get(address) for address in self._workers)
        limit = time.monotonic() - max(SLOW * median(self._seconds), SLOW_SECONDS)
        slow = [number for number, running in self._running.items() if running.since < limit]
        for number in sorted(slow, key=lambda number: self._running[number].since)[:n_idle]:
            running = self._running[number]
            if len(running.futures) < MAX_COPIES:
                running.since = time.monotonic()
                keys = {future.key for future in running.futures}
                self._submit(number, running, [a for a in self._workers if keys.isdisjoint(busy.get(a, ()))])

    def _submit(self, number: int, running: _Running[T], workers: Sequence[str] | None = None) -> None:
        if workers is None and (self._refused or self._first or running.avoided):
            others = [address for address in self._workers if address != running.avoided]
            workers = [self._first] if self._first in self._workers else others or list(self._workers)
            running.places.update(workers or [NOWHERE])
        self._running[number] = running
        if workers == []:  # submitted by `_check_workers` when there is a worker again
            return
        key = f"{self._function.__name__}-{number}-{uuid4().hex}"
        with scheduler_needed():
            future = self._client.submit(run_task, self._function, running.task, key=key, workers=workers)
        running.futures.append(future)
        asyncio.run_coroutine_threadsafe(self._fetch(number, future), self._client.loop.asyncio_loop)  # type: ignore[union-attr]

    async def _fetch(self, number: int, future: Future[Any]) -> None:
        # Each on its own: a worker that is stopped after it has finished a task must not hold up the results of others.
        try:
            outcome = await self._client.gather(future, asynchronous=True)
        except BaseException as error:  # raised in the thread that iterates
            outcome = error
        self._outcomes.put((number, future, outcome))

    def _handle_lost(self, number: int, running: _Running[T], future: Future[Any], error: BaseException) -> None:
        """Submit a task again whose worker was lost; raise what ends the run."""
        if isinstance(error, PipelineError):
            raise error
        if isinstance(error, OSError) or self._client.status != "running":  # Dask's CommClosedError is an OSError
            raise ClusterFailed(LOST)
        is_lost = isinstance(error, asyncio.CancelledError) or hasattr(error, "allowed_failures")
        attempts = getattr(error, "allowed_failures", 0) + 1  # Dask has tried again by itself
        reason = "its worker was lost" if is_lost else one_line(error)
        self._submit_failed(number, running, future, reason, attempts)

    def _handle_failure(self, number: int, running: _Running[T], future: Future[Any], result: Result[Any]) -> None:
        """Submit a task again whose function raised an error, to another worker if there is one."""
        address, reason = result.worker.address, result.value.reason
        failed = self._failed_on.setdefault(address, set())
        failed.add(number)
        if len(failed) >= MAX_FAILURES and self._workers.keys() - {address}:
            self._refuse(result.worker, f"it failed {MAX_FAILURES} tasks in a row, the last one with {reason}")
        running.avoided = address
        self._submit_failed(number, running, future, f"{reason} on {result.worker.host}", 1)

    def _submit_failed(
        self, number: int, running: _Running[T], future: Future[Any], reason: str, attempts: int
    ) -> None:
        running.futures.remove(future)
        running.failures += attempts
        if running.futures:  # another copy runs
            return
        if running.failures < MAX_ATTEMPTS:
            logger.warning("trying %s again: %s", running.task, reason)
            self._submit(number, _Running(running.task, running.failures, avoided=running.avoided))
            return
        del self._running[number]
        self.failed.append((running.task, reason))
        if len(self.failed) >= MAX_FAILED and not self._seconds:
            raise ClusterError(f"{len(self.failed)} tasks failed {MAX_ATTEMPTS} times each, the last one: {reason}")
