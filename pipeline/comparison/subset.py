"""`Subset`: the images of a step of a comparison, the same share of every class."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.files.durable import sha256_of
from pipeline.images.equal_contents import first_equal
from pipeline.images.table import NO_GROUP, SPLITS, ImageTable


@dataclass(frozen=True, eq=False)
class Subset:
    """Some images of a table, of all of its splits.

    `per_class` is the number of train images of each class that was asked for, None for all images. `members`,
    (n,) int64, are rows of `images`; `units`, (len(images),) int64, are equal where images belong together.
    """

    images: ImageTable
    per_class: int | None
    members: np.ndarray
    units: np.ndarray

    def of_split(self, split: str) -> np.ndarray:
        """Return the members of a split."""
        return self.members[self.images.split_codes[self.members] == SPLITS.index(split)]

    @property
    def measured(self) -> np.ndarray:
        """The members that conv bases are ranked by; those of the test split are kept for the winner."""
        return self.members[self.images.split_codes[self.members] != SPLITS.index("test")]

    @cached_property
    def key(self) -> str:
        """The sha256 of the images, their labels, splits and groups, by which scores are found again."""
        rows = self.members
        columns = (self.images.contents, self.images.labels, self.images.split_codes, self.units)
        return sha256_of(b"".join(np.ascontiguousarray(column[rows]).tobytes() for column in columns))


def choose_subset(images: ImageTable, per_class: int | None) -> Subset:
    """Choose about `per_class` train images of each class, and the same share of its images in other splits.

    The choice depends on the content of the images alone, and that of a smaller number is part of that of a
    larger one. Images of a group and equal images are chosen together, so that a class can get some more.
    """
    units = find_units(images)
    if per_class is None:
        return Subset(images, None, np.flatnonzero(images.readable & (images.labels >= 0)), units)
    order = _order(images, units)
    label, split = images.labels[order], images.split_codes[order]
    chosen = []
    for number in np.unique(label).tolist():
        n_train = int(np.count_nonzero((label == number) & (split == SPLITS.index("train"))))
        share = min(1.0, per_class / max(n_train, 1))
        for code in range(len(SPLITS)):
            of_class = order[(label == number) & (split == code)]
            chosen.append(_first_units(of_class, units, int(np.ceil(share * len(of_class)))))
    return Subset(images, per_class, np.sort(np.concatenate(chosen)), units)


def find_units(images: ImageTable) -> np.ndarray:
    """Number the images so that those of a group, and equal ones without a group, share a number: (n,) int64."""
    equal = first_equal(images.contents)
    return np.where(images.groups == NO_GROUP, equal, len(images) + images.groups.astype(np.int64))


def _order(images: ImageTable, units: np.ndarray) -> np.ndarray:
    """Order the labelled, readable images by a hash of their unit's content; a unit stands together."""
    rows = np.flatnonzero(images.readable & (images.labels >= 0))
    keys = np.array([hashlib.sha256(b"subset" + images.contents[row].tobytes()).digest()[:8] for row in rows], "S8")
    by_key = rows[np.lexsort((rows, keys.view(">u8")))]
    unit, first = np.unique(units[by_key], return_index=True)  # the unit's place is that of its first image
    return by_key[np.argsort(first[np.searchsorted(unit, units[by_key])], kind="stable")]


def _first_units(rows: np.ndarray, units: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` rows, and more until the unit of the last one is complete."""
    while 0 < count < len(rows) and units[rows[count]] == units[rows[count - 1]]:
        count += 1
    return rows[:count]
