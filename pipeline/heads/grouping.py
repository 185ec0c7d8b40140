"""Rows that belong together: the views of one image.

`groups` is an ndarray of shape (n,), equal where rows show one image. The first row of a group is the
image as it is (view 0), the others are augmented copies of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.validation import check_consistent_length, column_or_1d


def check_groups(groups: Any, y: np.ndarray) -> np.ndarray | None:
    """Groups numbered from 0 in the order in which they first appear, ndarray of shape (n,), int64; None stays None.

    Raises
    ------
    ValueError
        Groups and labels differ in number.
    """
    if groups is None:
        return None
    groups = column_or_1d(groups)
    check_consistent_length(groups, y)
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def first_rows(groups: np.ndarray | None, n: int) -> np.ndarray:
    """The first row of each group, in order, ndarray of int64; all n rows without groups."""
    return np.arange(n) if groups is None else np.unique(groups, return_index=True)[1]


def one_of_each(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random row of each group, as a mask, ndarray of shape (n,), bool."""
    order = np.lexsort((rng.random(len(groups)), groups))
    drawn = np.zeros(len(groups), bool)
    drawn[order[np.flatnonzero(np.diff(groups[order], prepend=-1))]] = True
    return drawn


def folds(
    count: int, y: np.ndarray, groups: np.ndarray | None, random_state: int | None, *, partition: bool = False
) -> StratifiedKFold | list[tuple[np.ndarray, np.ndarray]]:
    """Stratified folds of cross-validation, cut over images: a group is never torn apart.

    Where groups are images, the folds are those of the images alone; scikit-learn's
    `StratifiedGroupKFold`, which has to balance groups of any labels, would cut others.

    Parameters
    ----------
    count : int
        Folds.
    y : ndarray of shape (n,)
    groups : ndarray of shape (n,), optional
        Of `check_groups`.
    random_state : int, optional
    partition : bool
        Score on every row once, instead of on the first row of each group only.
    """
    splitter = StratifiedKFold(count, shuffle=True, random_state=random_state)
    if groups is None:
        return splitter
    first = first_rows(groups, len(y))
    return [
        (np.flatnonzero(np.isin(groups, train)), np.flatnonzero(np.isin(groups, test)) if partition else first[test])
        for train, test in splitter.split(first, y[first])
    ]
