"""Train heads on the workers of a cluster; this process saves them.

A task is a part of a search, or the training of one head with one seed. The task that trains a head follows the last
part of its search.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.cluster import Cluster, Result, TaskRun
from pipeline.cluster.usable_results import usable_results
from pipeline.errors import HeadError
from pipeline.evaluation import Repeats, seeds_of
from pipeline.extraction.callbacks import Callbacks
from pipeline.files.scratch import scratch_directory
from pipeline.heads.pipeline_head import SearchPart, mean_scores
from pipeline.heads.pooled_files import write_pooled, write_scaled
from pipeline.store import FeatureStore
from pipeline.store.open_store import hash_files
from pipeline.training.fit_and_score import Split, make_with_seed, open_splits
from pipeline.training.head_task import HeadTask, Job, pooled_file, run_head_task
from pipeline.training.trained_head import TrainedHead

MIN_CLUSTER_ROWS = 500_000  # train and validation rows, below which one process is as fast


class FailedHead(NamedTuple):
    """A head that could not be trained, and why."""

    name: str
    reason: str


def train_on_cluster(
    store: FeatureStore, heads: Mapping[str, Any], repeats: int, views: int, callbacks: Callbacks, cluster: Cluster
) -> Generator[TrainedHead | FailedHead]:
    """Train heads; yield each when it is trained with all of its seeds, or cannot be trained."""
    splits, runs = open_splits(store, views), {}
    for name, head in heads.items():
        try:
            runs[name] = _HeadRun(head, repeats, splits["train"], callbacks)
        except HeadError as error:
            yield FailedHead(name, str(error))
    with scratch_directory(store.directory, "heads") as files:
        pools = {run.pool for run in runs.values() if run.pool}
        scalers = _write_features(files, splits, pools, callbacks)
        job = Job(store.directory.absolute(), hash_files(store), views, files, scalers)
        run = cluster.run(run_head_task, (task for head_run in runs.values() for task in head_run.tasks(job)))
        for result in usable_results(run):
            if outcome := runs[result.task.head.name].take(result, run):
                yield outcome


def _write_features(files: Path, splits: Mapping[str, Split], pools: set[str], callbacks: Callbacks) -> dict[str, Any]:
    """Write the features of all splits, pooled in some ways, and those of train scaled; return the scalers."""
    scalers, total, done = {}, len(pools) * sum(len(split.y) for split in splits.values()), 0

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        callbacks.progress("pooling", done, total, "rows")

    for how in sorted(pools):
        for name, split in splits.items():
            path = pooled_file(files, name, how)
            if name != "train":
                write_pooled(path, split.X, how, count)
                continue
            temporary = path.with_suffix(".pooled")
            scalers[how] = write_scaled(path, write_pooled(temporary, split.X, how, count))
            temporary.unlink()
    return scalers


class _HeadRun:
    """The tasks of a head, and what has come of them."""

    def __init__(self, head: Any, repeats: int, train: Split, callbacks: Callbacks):
        """Plan the search; a HeadError says that a parameter is out of range."""
        self.callbacks, self.repeats, self.seeds = callbacks, repeats, tuple(seeds_of(head, repeats))
        self.heads = [head, *(make_with_seed(head, seed) for seed in self.seeds[1:])]
        self.pool = None if head.is_network else head.pool
        self.parts: list[list[SearchPart]] = [[] for _ in self.heads]
        if not head.is_network:
            self.parts = [head.search_parts(train.y, train.groups, train.images) for head in self.heads]
        self.scores: list[dict[SearchPart, list[float]]] = [{} for _ in self.heads]
        self.trained: dict[int, Any] = {}  # by the number of the seed: the trained head, then accuracies
        self.seconds, self.is_over = 0.0, False

    def tasks(self, job: Job) -> Iterator[HeadTask]:
        for seed, head in enumerate(self.heads):
            self.callbacks.head_started(f"{head.name} with seed {head.random_state}" if seed else head.name)
            parts: Sequence[SearchPart | None] = self.parts[seed] or [None]
            yield from (HeadTask(job, head, seed, part) for part in parts)

    def take(self, result: Result[HeadTask], run: TaskRun[HeadTask]) -> TrainedHead | FailedHead | None:
        """Note the result of a task; return what has become of the head after its last one."""
        task = result.task
        if self.is_over:
            return None
        if isinstance(result.value, HeadError):
            self.is_over = True
            return FailedHead(task.head.name, str(result.value))
        value, seconds = result.value
        self.seconds += 0 if task.seed else seconds
        if task.part is not None:
            scores = self.scores[task.seed]
            scores[task.part] = value
            if len(scores) == len(self.parts[task.seed]):
                run.run_again(result, replace(task, part=None, scores=mean_scores(scores)))
            return None
        self.trained[task.seed] = value
        return self._finish() if len(self.trained) == len(self.heads) else None

    def _finish(self) -> TrainedHead:
        self.is_over, trained = True, self.trained[0]
        for epoch in range(len(trained.history.get("loss", ()))):
            scores = {name: values[epoch] for name, values in trained.history.items()}
            self.callbacks.epoch_done(trained.name, epoch + 1, trained.head.epochs, scores)
        accuracies = trained.evaluation.accuracy, *(self.trained[seed] for seed in range(1, len(self.heads)))
        spread = Repeats(self.seeds, accuracies) if self.repeats > 1 else None
        return replace(trained, fit_seconds=self.seconds, repeats=spread)
