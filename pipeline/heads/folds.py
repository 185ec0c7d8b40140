"""Splits inside the training rows: folds of cross-validation, and a part that is held out.

Rows that belong together are never on both sides of a split: the views of an image, the images of
one of the user's groups, equal images.
"""

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.utils.validation import check_consistent_length, column_or_1d

Split = tuple[np.ndarray, np.ndarray]  # row numbers to train on, row numbers to score on


class RowGroups(NamedTuple):
    """Which training rows belong together."""

    groups: np.ndarray  # (n,), int64: equal where rows stay on one side of a split, numbered by `number_groups`
    is_image: np.ndarray  # (n,), bool: False for augmented copies, which are trained on and never scored on

    @property
    def first_rows(self) -> np.ndarray:
        """The first row of each group, ndarray of int64."""
        return np.unique(self.groups, return_index=True)[1]

    def is_held_out(self, groups: np.ndarray) -> np.ndarray:
        """Return the rows of some groups as a mask, ndarray of shape (n,), bool."""
        return np.isin(self.groups, groups)


def check_groups(groups: Any, images: Any, y: np.ndarray) -> RowGroups:
    """Check the `groups` and `images` of a head's `fit`; all views of an image go to the group of the image itself."""
    images = number_groups(images, y)
    is_image = np.zeros(len(y), bool)
    is_image[np.unique(images, return_index=True)[1]] = True
    if groups is None:
        return RowGroups(images, is_image)
    groups = number_groups(groups, y)
    return RowGroups(number_groups(groups[is_image][images], y), is_image)


def number_groups(groups: Any, y: np.ndarray) -> np.ndarray:
    """Number groups from 0 in order of first appearance, ndarray of shape (n,), int64; each row alone if None."""
    if groups is None:
        return np.arange(len(y))
    groups = column_or_1d(groups)
    check_consistent_length(groups, y)
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def make_folds(
    count: int, y: np.ndarray, rows: RowGroups, random_state: int | None, *, score_views: bool = False
) -> list[Split]:
    """Draw folds of cross-validation over groups, stratified by the label of each group's first row.

    Without groups these are scikit-learn's folds of the rows, and with views those of the images.
    Its `StratifiedGroupKFold` would draw other folds. `score_views` scores on every row once, instead
    of on the images alone. Fewer folds than `count` are drawn where a class would be missing on a
    training side; the list is empty where even two folds lack one.
    """
    labels = y[rows.first_rows]
    smallest = int(np.unique(labels, return_counts=True)[1].min())
    for n in range(min(count, smallest), 1, -1):
        splits = []
        for _, test in StratifiedKFold(n, shuffle=True, random_state=random_state).split(labels, labels):
            held_out = rows.is_held_out(test)
            scored = held_out if score_views else held_out & rows.is_image
            splits.append((np.flatnonzero(~held_out), np.flatnonzero(scored)))
        classes = len(np.unique(y))
        if all(len(np.unique(y[train])) == classes for train, _ in splits):
            return splits
    return []


def hold_out(share: float, y: np.ndarray, rows: RowGroups, random_state: int | None) -> Split:
    """Hold out a share of the groups, stratified as in `make_folds`; images alone are scored on."""
    labels = y[rows.first_rows]
    _, test = train_test_split(np.arange(len(labels)), test_size=share, stratify=labels, random_state=random_state)
    held_out = rows.is_held_out(test)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out & rows.is_image)
