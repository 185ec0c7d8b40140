"""`FinetunePlan`: what fine-tuning will train on, and the memory it takes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.heads.memory import available_memory
from pipeline.store import FeatureStore
from pipeline.training.fit_and_score import Split


class FinetunePlan(NamedTuple):
    """What fine-tuning is about to do."""

    parameters: int  # weights above the cut that are trained
    images: int  # train images in an epoch
    views: int  # of each train image; an epoch draws one of them
    feature_shape: tuple[int, ...]  # of one image at the end of the conv base
    feature_bytes: int  # of these features of all train and validation images, which the first step needs
    on_disk: bool  # whether they are written to a temporary file because memory is short


def make_plan(store: FeatureStore, splits: Mapping[str, Split], views: int, top_layers: Any) -> FinetunePlan:
    """Plan the fine-tuning of `top_layers`, a model of `load_top_layers`."""
    shape = tuple(top_layers.output_shape[1:])
    rows = sum(len(splits[split].y) for split in ("train", "validation"))
    feature_bytes = rows * int(np.prod(shape)) * store.dtype.itemsize
    train, held_out = splits["train"], splits["train"].hold_out()
    images = np.arange(len(train.y)) if train.images is None else train.images
    trained = images if held_out is None else images[~held_out]
    free = available_memory()
    return FinetunePlan(
        parameters=sum(int(np.prod(weight.shape)) for weight in top_layers.trainable_weights),
        images=len(np.unique(trained)),
        views=views,
        feature_shape=shape,
        feature_bytes=feature_bytes,
        on_disk=free is not None and feature_bytes > free / 2,
    )
