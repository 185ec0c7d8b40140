"""What stage two and fine-tuning share: the splits of a store, and a head trained and scored on them."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.evaluation import Evaluation, evaluate
from pipeline.extraction.callbacks import Callbacks
from pipeline.heads import make_head
from pipeline.images.table import SPLITS
from pipeline.store import FeatureStore, stack_views
from pipeline.training.hold_out import hold_out
from pipeline.training.trained_head import TrainedHead


class Split(NamedTuple):
    """The images of a split that have features."""

    X: Any  # (n, *feature_shape): `Rows` or `SharedFeatures`
    y: np.ndarray  # (n,), int32: labels
    # (n,), int64: equal where rows belong together: images of one of the user's groups, equal images, and
    # views of them. They are resampled together, and no fold separates them.
    groups: np.ndarray
    images: np.ndarray | None = None  # (n,), int64: equal where rows are views of one image; None without views

    def hold_out(self) -> np.ndarray | None:
        """Draw the rows that are held out to choose the epoch; see `pipeline.training.hold_out`."""
        return hold_out(self.y, self.groups, self.images)


def open_splits(store: FeatureStore, views: int) -> dict[str, Split]:
    """Open the splits that have images, those of train in `views` views; features are read on demand."""
    splits = {
        name: Split(*store.on_demand(name), store.resampling_groups(name))
        for name in SPLITS
        if len(store.members(name))
    }
    if views > 1:
        X, y, images = stack_views(store, "train", views)
        groups = splits["train"].groups
        first = np.unique(images, return_index=True)[1]  # the images themselves are the first rows
        splits["train"] = Split(X, y, np.concatenate([groups, groups[first][images[len(groups) :]]]), images)
    return splits


def fit_head(head: Any, splits: Mapping[str, Split], callbacks: Callbacks, **options: Any) -> float:
    """Train a head, with further `options` of its `fit`, and return the seconds it took."""
    train, validation = splits["train"], splits["validation"]
    if head.is_network:
        options["validation_data"] = validation.X, validation.y
        if head.patience is not None:
            options["held_out"] = train.hold_out()
        options["on_epoch"] = lambda epoch, scores: callbacks.epoch_done(head.name, epoch, head.epochs, scores)
    start = time.perf_counter()
    head.fit(train.X, train.y, groups=train.groups, images=train.images, **options)
    return time.perf_counter() - start


def train_head(
    head: Any, store: FeatureStore, splits: Mapping[str, Split], views: int, callbacks: Callbacks, **options: Any
) -> TrainedHead:
    """Train a head, with further `options` of its `fit`, and score it."""
    seconds = fit_head(head, splits, callbacks, **options)
    evaluations = score_head(head, splits, store)
    return TrainedHead(
        name=head.name,
        head=head,
        evaluation=evaluations["validation"],
        test_evaluation=evaluations.get("test"),
        fit_seconds=seconds,
        parameters=head.count_parameters(),
        views=views,
        history=getattr(head, "history_", {}),
    )


def train_again(head: Any, splits: Mapping[str, Split], callbacks: Callbacks, **options: Any) -> float:
    """Train a head with another seed, with further `options` of its `fit`, and return its accuracy in validation."""
    fit_head(head, splits, callbacks, **options)
    return float(np.mean(head.predict(splits["validation"].X) == splits["validation"].y))


def make_with_seed(head: Any, seed: int | None) -> Any:
    """Make the same untrained head with another seed."""
    return make_head(head.name, **{**head.get_params(), "random_state": seed})


def score_head(head: Any, splits: Mapping[str, Split], store: FeatureStore) -> dict[str, Evaluation]:
    """Score a head on each split but train."""
    return {
        name: evaluate(head, split.X, split.y, classes=store.classes, groups=split.groups)
        for name, split in splits.items()
        if name != "train"
    }
