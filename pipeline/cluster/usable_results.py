"""`usable_results`: the results of a run, without those of workers that lack files."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipeline.cluster.run_tasks import TaskRun
from pipeline.cluster.workers import Result
from pipeline.errors import ClusterFailed

T = TypeVar("T")
alone = threading.Lock()  # of a task that uses all cores of its process


class NotMounted(NamedTuple):
    """What a worker returns that does not have a directory."""

    directory: Path


def usable_results(
    run: TaskRun[T], find_problem: Callable[[Result[T]], str | None] = lambda result: None
) -> Iterator[Result[Any]]:
    """Yield the results of a run one by one.

    A worker that returned `NotMounted`, or a result with a problem, gets no more tasks. At the end a ClusterFailed
    says which task has no result.
    """
    for results in run:
        for result in results:
            if isinstance(result.value, NotMounted):
                problem: str | None = f"it cannot read {result.value.directory}: is the store mounted there?"
            else:
                problem = find_problem(result)
            if problem:
                run.refuse(result, problem)
            else:
                yield result
    if run.failed:
        task, reason = run.failed[0]
        raise ClusterFailed(f"{task} could not be computed on the cluster: {reason}; run the same command again")
