"""What a worker of a cluster does in stage two: score a part of a search, or train and score a head."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from pipeline.cluster.usable_results import NotMounted, alone
from pipeline.conv_base.start_tensorflow import start_tensorflow_quietly
from pipeline.errors import HeadError
from pipeline.extraction.callbacks import SILENT
from pipeline.heads.pipeline_head import SearchPart
from pipeline.heads.pooled_files import map_array
from pipeline.heads.shared_features import SharedFeatures
from pipeline.store import FeatureStore
from pipeline.store.open_store import open_again
from pipeline.training.fit_and_score import Split, open_splits, train_again, train_head
from pipeline.training.trained_head import TrainedHead


@dataclass(frozen=True)
class Job:
    """What all tasks of a run have in common."""

    store: Path  # its directory
    store_sha256: str
    views: int
    files: Path  # the directory of the pooled features
    scalers: Mapping[str, StandardScaler]  # by the way of pooling

    def open_splits(self, store: FeatureStore) -> dict[str, Split]:
        """Open the splits of the store, with pooled features from the files."""
        splits = {}
        for name, split in open_splits(store, self.views).items():
            arrays = {how: map_array(pooled_file(self.files, name, how)) for how in self.scalers}
            if name == "train":
                X = SharedFeatures(split.X, scaled={how: (self.scalers[how], arrays[how]) for how in arrays})
            else:
                X = SharedFeatures(split.X, pooled=arrays)
            splits[name] = split._replace(X=X)
        return splits


def pooled_file(files: Path, split: str, how: str) -> Path:
    """Return the file of the features of a split, pooled in some way; those of train are scaled, too."""
    return files / f"{split}-{how}.npy"


@dataclass(frozen=True)
class HeadTask:
    """A part of the search of a head to score, or the head to train."""

    job: Job
    head: Any  # not trained
    seed: int  # the number of its seed; the head of the first one, 0, is returned
    part: SearchPart | None
    scores: list[float] | None = None  # the result of the search

    def __str__(self) -> str:
        what = self.head.name if self.part is None else f"a part of the search of {self.head.name}"
        return f"{what} with seed {self.head.random_state}" if self.seed else what


def run_head_task(task: HeadTask) -> tuple[list[float] | TrainedHead | float, float] | HeadError | NotMounted:
    """Return scores of a part of a search, the trained head or, with another seed, its accuracy; and the seconds."""
    job, head = task.job, clone(task.head)
    if not job.files.is_dir():
        return NotMounted(job.store)
    options = {} if task.scores is None else {"scores": task.scores}
    with alone, joblib.parallel_config("threading"):  # as joblib's processes may not be started from a worker
        if head.is_network:
            start_tensorflow_quietly()
        store = open_again(job.store, job.store_sha256)
        splits = job.open_splits(store)
        start = time.perf_counter()
        try:
            if task.part is not None:
                X, y, groups, images = splits["train"]
                return head.score_part(X, y, task.part, groups, images), time.perf_counter() - start
            if task.seed:
                return train_again(head, splits, SILENT, **options), time.perf_counter() - start
            trained = train_head(head, store, splits, job.views, SILENT, **options)
        except HeadError as error:
            return error
    return trained, trained.fit_seconds
