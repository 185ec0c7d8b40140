"""`ImageTable`: the images of a data set with their labels, splits, groups and content."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.images.ids import Ids

SPLITS = ("train", "validation", "test")
NO_GROUP = -1
MAX_SHOWN = 5  # classes in a repr


class Skipped(NamedTuple):
    """A file or folder that is not used as an image, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ImageTable:
    """n images, ordered by id.

    Attributes
    ----------
    root : Path
        The folder that ids are relative to.
    ids : sequence of n str
        Path of each image relative to `root`, with `/`; bytes that are not UTF-8 are surrogate-escaped.
    labels : ndarray of shape (n,), int32
        Indices into `classes`; -1 for no label.
    split_codes : ndarray of shape (n,), int8
        Indices into `SPLITS`.
    classes : tuple of str
        Sorted by name.
    sizes, mtimes : ndarray of shape (n,), int64
        Size in bytes and time of modification in nanoseconds since 1970.
    contents : ndarray of shape (n, 32), uint8
        The sha256 of each file's bytes; zeros for a file that cannot be read.
    readable : ndarray of shape (n,), bool
        Whether the file could be read.
    groups : ndarray of shape (n,), int32
        The same number for images of the same group (the column `group` of a CSV file); `NO_GROUP` for
        an image without a group.
    skipped : sequence of Skipped
        Files and folders among the images that are not used as images.
    """

    root: Path
    ids: Sequence[str]
    labels: np.ndarray
    split_codes: np.ndarray
    classes: tuple[str, ...]
    sizes: np.ndarray
    mtimes: np.ndarray
    contents: np.ndarray
    readable: np.ndarray
    groups: np.ndarray
    skipped: Sequence[Skipped] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        class_sizes, split_sizes = self.counts().sum(axis=1), np.bincount(self.split_codes, minlength=len(SPLITS))
        classes = [f"{name!r} {n}" for name, n in zip(self.classes[:MAX_SHOWN], class_sizes, strict=False)]
        classes += ["..."] if len(self.classes) > MAX_SHOWN else []
        splits = [f"{name} {n}" for name, n in zip(SPLITS, split_sizes, strict=True)]
        return f"<ImageTable {str(self.root)!r}: {len(self)} images; {', '.join(classes)}; {', '.join(splits)}>"

    @property
    def splits(self) -> np.ndarray:
        """The split of each image, ndarray of shape (n,), str."""
        return np.array(SPLITS)[self.split_codes]

    @property
    def paths(self) -> list[str]:
        """The path of each image."""
        return [os.path.join(self.root, id) for id in self.ids]  # noqa: PTH118  # a million times

    def content_keys(self) -> list[bytes]:
        """Return the sha256 of each image as 32 bytes."""
        flat = self.contents.tobytes()
        return [flat[start : start + 32] for start in range(0, len(flat), 32)]

    def counts(self) -> np.ndarray:
        """Return the number of images of each class in each split, ndarray of shape (classes, 3), int64."""
        counts = np.zeros((len(self.classes), len(SPLITS)), np.int64)
        labelled = self.labels >= 0
        np.add.at(counts, (self.labels[labelled], self.split_codes[labelled]), 1)
        return counts

    def take(self, rows: np.ndarray) -> ImageTable:
        """Return the table of the given rows only, which are in increasing order, as a table is ordered by id."""
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        return replace(self, ids=Ids.pack(self.ids[row] for row in rows), **columns)


COLUMNS = ("labels", "split_codes", "sizes", "mtimes", "contents", "readable", "groups")
