"""Augmented views of a store: each is a store of its own below `views/`, of copies of the train images.

The spec of a view is the spec of the store with the field `view`. Rows of a view are found by the content
of an image; labels and splits are those of the store.
"""

import os
import shutil
from pathlib import Path

import numpy as np

from pipeline.conv_base.fingerprint import compare
from pipeline.errors import StoreDamaged, StoreError, StoreMismatch
from pipeline.files.durable import TEMPORARY, sync_directory, temporary_path
from pipeline.files.lock import lock_directory
from pipeline.images.status import Status
from pipeline.store.feature_store import FeatureStore
from pipeline.store.file_names import MANIFEST, VIEWS, view_directory
from pipeline.store.index import NO_ROW
from pipeline.store.open_store import open_features
from pipeline.store.read_rows import FeatureRows

DROP = "drop the views with `features --views 1` and make them again"


def view_numbers(directory: Path) -> list[int]:
    """Return the numbers of the augmented views that a store has, from 1 on without a gap."""
    number = 1
    while (view_directory(directory, number) / MANIFEST).is_file():
        number += 1
    return list(range(1, number))


def count_views(directory: Path) -> int:
    """Return how many views of each train image a store has, the image itself as view 0 among them."""
    return 1 + len(view_numbers(directory))


def drop_views(directory: Path, count: int) -> int:
    """Delete the last augmented views, so that `count` views with view 0 are left; return how many were deleted."""
    dropped = [number for number in view_numbers(directory) if number >= count]
    for number in reversed(dropped):
        view = view_directory(directory, number)
        with lock_directory(view):  # a view of this number that is made meanwhile is not deleted
            os.replace(view, temporary_path(view))
            sync_directory(view.parent)
    for left_over in (directory / VIEWS).glob(f"{TEMPORARY}*"):  # also those of a run that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    return len(dropped)


def open_views(store: FeatureStore) -> list[FeatureStore]:
    """Open the augmented views of a store, in order."""
    return [open_view(store, number) for number in view_numbers(store.directory)]


def open_view(store: FeatureStore, number: int) -> FeatureStore:
    """Open one augmented view of a store, and check that it was made with the spec of the store."""
    try:
        view = open_features(view_directory(store.directory, number))
    except StoreDamaged as error:
        raise StoreDamaged(f"{error}, or {DROP}") from None
    settings = view.manifest.spec.get("view") or {}
    differences = compare(view.manifest.spec, {**store.manifest.spec, "view": {**settings, "number": number}})
    if differences:
        listed = "; ".join(map(str, differences))
        raise StoreMismatch(f"{view.directory} is no view of {store.directory}: {listed}; {DROP}", differences)
    return view


def stack_views(store: FeatureStore, split: str, count: int) -> tuple[FeatureRows, np.ndarray, np.ndarray]:
    """Return features, labels (m,) and groups (m,) of a split in `count` views, view 0 among them.

    Rows are view 0 of every image with features, in the order of `store.load(split)`, then view 1, and so on. Images
    whose features are not finite in a view are left out of this view. Rows of the same image, and of images of equal
    content, have the same group.
    """
    if (stored := count_views(store.directory)) < count:
        raise StoreError(f"{store.directory} has {stored} of {count} views; run `features` with --views {count}")
    members = store.members(split)
    group_of: dict[bytes, int] = {}
    contents = [store.images.contents[member].tobytes() for member in members.tolist()]
    groups = np.array([group_of.setdefault(content, len(group_of)) for content in contents], np.int64)
    parts, indices = [(store.shards, store.index.rows[members])], [np.arange(len(members))]
    for number in range(1, count):
        view = open_view(store, number)
        rows = _find_rows(view, contents)
        indices.append(np.flatnonzero(rows != NO_ROW))
        parts.append((view.shards, rows[indices[-1]]))
    stacked = np.concatenate(indices)
    return FeatureRows(parts), store.images.labels[members][stacked], groups[stacked]


def _find_rows(view: FeatureStore, contents: list[bytes]) -> np.ndarray:
    """Return the row of each content in a view, ndarray of int64; `NO_ROW` where the features are not finite."""
    row_of = view.rows_by_content()
    rows = np.array([row_of(content) for content in contents], np.int64)
    bad_rows = [bad.row for shard in view.manifest.shards for bad in shard.bad if bad.status == Status.NOT_FINITE]
    not_finite = {content.tobytes() for content in view.index.contents[bad_rows]}
    if missing := sum(contents[i] not in not_finite for i in np.flatnonzero(rows == NO_ROW)):
        raise StoreError(
            f"{view.directory}: {missing} of {len(contents)} images have no features in this view yet; run "
            "`features` again, it computes what is missing"
        )
    return rows
