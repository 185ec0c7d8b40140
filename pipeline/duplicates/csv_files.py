"""CSV files of duplicates: the pairs, and the images with each group in one split."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.duplicates.pairs import Duplicates, connected_ids, pairs_with_first
from pipeline.files.durable import write_durably
from pipeline.images.table import NO_GROUP, SPLITS
from pipeline.store import FeatureStore

PAIRS_HEADER = ("kind", "similarity", "pixels", "across_splits", "two_labels", "id", "split", "label", "other_id",
                "other_split", "other_label")  # fmt: skip
PAIRS_START = rb"kind,similarity,"  # how a file of `write_pairs` starts, for `is_replaceable`


def write_groups(store: FeatureStore, duplicates: Duplicates, file: str | Path) -> int:
    """Write a CSV file of all images that stage one takes as IMAGES; return how many images change their split.

    Groups of duplicates are joined with the groups that the images had: two patients who share one
    picture become one group. Every image keeps its label and its split, except in groups that lie in
    several splits. Such a group gets the split of its member with the smallest sha256, which is a
    random choice, so that no split grows at the cost of another on average. The paths in the file are
    relative to its folder.
    """
    images, file = store.images, Path(file)
    row_of = {id: row for row, id in enumerate(images.ids)}
    splits = images.split_codes.copy()
    group_of: dict[str, str] = {}
    grouped = np.flatnonzero(images.groups != NO_GROUP)
    given_pairs = pairs_with_first(grouped, images.groups[grouped])
    links = [pair.ids for pair in duplicates.pairs] + [(images.ids[a], images.ids[b]) for a, b in given_pairs]
    for number, ids in enumerate(connected_ids(links), 1):
        group_of |= dict.fromkeys(ids, f"group-{number}")
        rows = [row_of[id] for id in ids]
        splits[rows] = splits[min(rows, key=lambda row: (not images.readable[row], images.contents[row].tobytes()))]
    # Symbolic links are resolved first, as `..` leads out of the folder that a link points to.
    root = os.path.relpath(images.root.resolve(), file.parent.resolve())
    lines = (
        (os.path.join(root, id), images.classes[label], SPLITS[split], group_of.get(id, ""))  # noqa: PTH118  # a million times
        for id, label, split in zip(images.ids, images.labels, splits, strict=True)
    )
    _write_csv(file, ("path", "label", "split", "group"), lines)
    return int((splits != images.split_codes).sum())


def write_pairs(duplicates: Duplicates, file: str | Path) -> None:
    """Write a CSV file with one line per pair, its columns named by `PAIRS_HEADER`."""
    lines = []
    for pair in duplicates.pairs:
        numbers = (f"{pair.similarity:.4f}", "" if pair.pixels is None else f"{pair.pixels:.4f}")
        images = [field for image in zip(pair.ids, pair.splits, pair.labels, strict=True) for field in image]
        lines.append((pair.kind, *numbers, int(pair.across_splits), int(pair.two_labels), *images))
    _write_csv(Path(file), PAIRS_HEADER, lines)


def _write_csv(path: Path, header: Iterable[str], lines: Iterable[Iterable[object]]) -> None:
    """Write a CSV file durably; names that are not UTF-8 are written as the bytes they are."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *lines])
    write_durably(path, text.getvalue().encode("utf-8", "surrogateescape"))
