"""A CSV file of the images in which no group, of duplicates or of the user, is torn apart."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.duplicates.pairs import Duplicates, connected
from pipeline.files.durable import open_durably
from pipeline.images.table import NO_GROUP, SPLITS, ImageTable
from pipeline.store import FeatureStore

COLUMNS = ("path", "label", "split", "group")
PAIRS_START = rb"kind,similarity,"  # of what `write_pairs` wrote, for `is_replaceable`


def write_groups(store: FeatureStore, found: Duplicates, file: str | Path) -> int:
    """Write what stage one takes as IMAGES; returns how many images change their split.

    Duplicates are joined with the groups that the images came with: two patients of whom there is
    one picture are a group. Every image keeps its label and its split, but for groups that lie in
    two splits: those go where the member of the smallest sha256 is, a choice like a draw, so that on
    average no split grows at the cost of another.

    Parameters
    ----------
    store : FeatureStore
    found : Duplicates
        Of this store.
    file : path
        Its paths are relative to its own folder.

    Raises
    ------
    OSError
        The file cannot be written; what was there stays.
    """
    images, file = store.images, Path(file)
    number = {id: at for at, id in enumerate(images.ids)}
    splits = images.split_codes.copy()
    group_of: dict[str, str] = {}
    for count, ids in enumerate(connected([*(pair.ids for pair in found.pairs), *_given_links(images)]), 1):
        group_of |= dict.fromkeys(ids, f"group-{count}")
        members = [number[id] for id in ids]
        splits[members] = splits[min(members, key=lambda at: (not images.readable[at], images.contents[at].tobytes()))]
    root = os.path.relpath(images.root.resolve(), file.parent.resolve())  # `..` leads out of the folder a link names
    with _csv_file(file) as rows:
        rows.writerow(COLUMNS)
        for at, id in enumerate(images.ids):
            path = os.path.join(root, id)  # noqa: PTH118  # a million times
            rows.writerow((path, images.classes[images.labels[at]], SPLITS[splits[at]], group_of.get(id, "")))
    return int((splits != images.split_codes).sum())


def _given_links(images: ImageTable) -> Iterator[tuple[str, str]]:
    """The first image of each of the user's groups with every other one."""
    members = np.flatnonzero(images.groups != NO_GROUP)
    _, firsts, group_of = np.unique(images.groups[members], return_index=True, return_inverse=True)
    for first, other in zip(members[firsts[group_of]].tolist(), members.tolist(), strict=True):
        if first != other:
            yield images.ids[first], images.ids[other]


def write_pairs(found: Duplicates, file: str | Path) -> None:
    """Write a line a pair: `kind,similarity,pixels,across_splits,two_labels`, then path, split and label of each image.

    Raises
    ------
    OSError
        The file cannot be written; what was there stays.
    """
    with _csv_file(Path(file)) as rows:
        flags = ("kind", "similarity", "pixels", "across_splits", "two_labels")
        rows.writerow((*flags, "id", "split", "label", "other_id", "other_split", "other_label"))
        for pair in found.pairs:
            numbers = (f"{pair.similarity:.4f}", "" if pair.pixels is None else f"{pair.pixels:.4f}")
            images = [field for image in zip(pair.ids, pair.splits, pair.labels, strict=True) for field in image]
            rows.writerow((pair.kind, *numbers, int(pair.across_splits), int(pair.two_labels), *images))


@contextlib.contextmanager
def _csv_file(path: Path) -> Iterator[Any]:
    """A csv writer of a file that is whole or absent; names that are not UTF-8 are written as they are."""
    with open_durably(path) as raw:
        text = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "surrogateescape", newline="")
        yield csv.writer(text)
        text.detach().detach()  # flushes; the file is closed by whoever opened it
