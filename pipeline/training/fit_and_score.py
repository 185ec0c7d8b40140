"""What stage two and fine-tuning share: the splits of a store, and a head trained and scored on them."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.evaluation import Evaluation, evaluate
from pipeline.extraction.callbacks import Callbacks
from pipeline.images.table import SPLITS
from pipeline.store import FeatureStore, stack_views
from pipeline.training.hold_out import hold_out


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


def score_head(head: Any, splits: Mapping[str, Split], store: FeatureStore) -> dict[str, Evaluation]:
    """Score a head on each split but train."""
    return {
        name: evaluate(head, split.X, split.y, classes=store.classes, groups=split.groups)
        for name, split in splits.items()
        if name != "train"
    }
