"""`ImageTable`: the images of a data set, a row each, and what is known of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.status import Status

SPLITS = ("train", "validation", "test")


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
    skipped: Sequence[Skipped] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

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

    def unreadable(self) -> list[tuple[str, Status]]:
        """Ids of the images whose bytes could not be read."""
        return [(self.ids[row], Status.UNREADABLE) for row in np.flatnonzero(~self.readable).tolist()]


COLUMNS = ("labels", "split_codes", "sizes", "mtimes", "contents", "readable")
