"""`TrainingPlan`: the images of a training, which of them choose the epoch, and what the training takes."""

import math
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import ImagesError, PipelineError
from pipeline.images.equal_contents import first_equal
from pipeline.images.table import NO_GROUP, SPLITS, ImageTable
from pipeline.text import format_size
from pipeline.training.hold_out import hold_out


class TrainingPlan(NamedTuple):
    """What the training of a conv base is about to do."""

    parameters: int  # of the conv base and its temporary classifier
    train: int  # images in an epoch
    held_out: int  # images of train that choose the epoch instead of being trained on
    validation: int  # images
    decoded_bytes: int  # of the decoded images, a file in `directory`
    is_decoded: bool  # whether an interrupted run has decoded them
    directory: Path  # where the training is kept until it is done


class Rows(NamedTuple):
    """Which decoded images are trained on, and which are scored; ndarrays of shape (n,), int64."""

    train: np.ndarray
    held_out: np.ndarray
    validation: np.ndarray


def used_images(images: ImageTable) -> np.ndarray:
    """Return the train and validation images in a random order, the same at each call: ndarray of shape (n,), int64.

    Neighbours are read together in an epoch, so they should not be of one class.
    """
    return np.random.default_rng(0).permutation(np.flatnonzero(images.split_codes != SPLITS.index("test")))


def split_rows(images: ImageTable, used: np.ndarray, is_decoded: np.ndarray) -> Rows:
    """Split the rows of the images `used` that are decoded; raise ImagesError if fewer than two classes are in train.

    A tenth of train is held out as for the dense head; see `pipeline.training.hold_out`.
    """
    splits, labels = images.split_codes[used], images.labels[used]
    train = np.flatnonzero(is_decoded & (splits == SPLITS.index("train")))
    if len(np.unique(labels[train])) < 2:
        raise ImagesError(f"{images.root} has train images of fewer than two classes; add images, or assign splits")
    groups = np.where(images.groups == NO_GROUP, first_equal(images.contents), len(images) + images.groups)[used]
    is_held_out = hold_out(labels[train], groups[train])
    if is_held_out is None:
        is_held_out = np.zeros(len(train), bool)
    validation = np.flatnonzero(is_decoded & (splits == SPLITS.index("validation")))
    return Rows(train[~is_held_out], train[is_held_out], validation)


def decoded_bytes(n: int, height_width: tuple[int, int]) -> int:
    """Return the bytes of n decoded images."""
    return n * math.prod(height_width) * 3


def check_space(directory: Path, size: int) -> None:
    """Raise PipelineError if a file of `size` bytes does not fit onto the disk of a directory."""
    if (free := shutil.disk_usage(directory).free) < size:
        raise PipelineError(
            f"{directory}: the decoded images take {format_size(size)}, {format_size(free)} are free; "
            "make room, give another --out, or a smaller --size"
        )
