"""`FinetunePlan`: what fine-tuning will train on, and the memory it takes."""

from typing import Any, NamedTuple

import numpy as np

from pipeline.heads.memory import available_memory
from pipeline.images.table import SPLITS
from pipeline.store import FeatureStore, stack_views
from pipeline.training.hold_out import group_train_rows, hold_out


class Maps(NamedTuple):
    """The feature maps of a store, read from disk on demand."""

    splits: dict[str, tuple[Any, np.ndarray]]  # maps and labels of each split that has images
    images: np.ndarray | None  # (n,), int64: equal where train rows are views of one image; None without views
    held_out: np.ndarray | None  # (n,), bool: train rows that are held out to choose the epoch; see `hold_out`
    views: int  # of each train image


def open_maps(store: FeatureStore, views: int) -> Maps:
    """Open the maps of a store, those of its train images in `views` views."""
    splits: dict[str, tuple[Any, np.ndarray]] = {
        split: store.on_demand(split) for split in SPLITS if len(store.members(split))
    }
    images = None
    if views > 1:
        X, y, images = stack_views(store, "train", views)
        splits["train"] = X, y
    held_out = hold_out(splits["train"][1], group_train_rows(store, images), images)
    return Maps(splits, images, held_out, views)


class FinetunePlan(NamedTuple):
    """What fine-tuning is about to do."""

    parameters: int  # weights above the cut that are trained
    images: int  # train images in an epoch
    views: int  # of each train image; an epoch draws one of them
    feature_shape: tuple[int, ...]  # of one image at the end of the conv base
    feature_bytes: int  # of these features of all train and validation images, which the first step needs
    on_disk: bool  # whether they are written to a temporary file because memory is short


def make_plan(store: FeatureStore, maps: Maps, top_layers: Any) -> FinetunePlan:
    """Plan the fine-tuning of `top_layers`, a model of `load_top_layers`."""
    shape = tuple(top_layers.output_shape[1:])
    rows = sum(len(maps.splits[split][1]) for split in ("train", "validation"))
    feature_bytes = rows * int(np.prod(shape)) * store.dtype.itemsize
    images = np.arange(len(maps.splits["train"][1])) if maps.images is None else maps.images
    trained = images if maps.held_out is None else images[~maps.held_out]
    free = available_memory()
    return FinetunePlan(
        parameters=sum(int(np.prod(weight.shape)) for weight in top_layers.trainable_weights),
        images=len(np.unique(trained)),
        views=maps.views,
        feature_shape=shape,
        feature_bytes=feature_bytes,
        on_disk=free is not None and feature_bytes > free / 2,
    )
