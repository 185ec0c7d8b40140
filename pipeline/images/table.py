"""`ImageTable`: the images of a data set, a row each, and what is known of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

SPLITS = ("train", "validation", "test")
NO_GROUP = -1
MAX_NAMED = 5  # classes in a repr


class Skipped(NamedTuple):
    """A file or folder that is no image, and why."""

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
        Path of each image below `root`, with `/`; what is not UTF-8 is surrogate-escaped.
    labels : ndarray of shape (n,), int32
        Indices into `classes`; -1 where there is no label.
    split_codes : ndarray of shape (n,), int8
        Indices into `SPLITS`.
    classes : tuple of str
        Sorted by name.
    sizes, mtimes : ndarray of shape (n,), int64
        Bytes; nanoseconds since 1970.
    contents : ndarray of shape (n, 32), uint8
        The sha256 of each file's bytes; zeros where it cannot be read.
    readable : ndarray of shape (n,), bool
    groups : ndarray of shape (n,), int32
        The same number for images that the user says belong together (the column `group` of a CSV
        file); `NO_GROUP` where nothing is said.
    skipped : sequence of Skipped
        What lies among the images and is none.
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
        of_class, of_split = self.counts().sum(axis=1), np.bincount(self.split_codes, minlength=len(SPLITS))
        classes = [f"{name!r} {n}" for name, n in zip(self.classes[:MAX_NAMED], of_class, strict=False)]
        classes += ["..."] if len(self.classes) > MAX_NAMED else []
        splits = [f"{name} {n}" for name, n in zip(SPLITS, of_split, strict=True)]
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
        """The sha256 of each image as 32 bytes."""
        flat = self.contents.tobytes()
        return [flat[at : at + 32] for at in range(0, len(flat), 32)]

    def counts(self) -> np.ndarray:
        """Images of each class in each split, ndarray of shape (classes, 3), int64."""
        counts = np.zeros((len(self.classes), len(SPLITS)), np.int64)
        labelled = self.labels >= 0
        np.add.at(counts, (self.labels[labelled], self.split_codes[labelled]), 1)
        return counts

    def take(self, rows: np.ndarray) -> ImageTable:
        """The table of the given rows only."""
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            **{name: getattr(self, name)[rows] for name in COLUMNS},
        )


COLUMNS = ("labels", "split_codes", "sizes", "mtimes", "contents", "readable", "groups")
