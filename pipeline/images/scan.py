"""`scan_images`: the table of a data set's images, with their labels, content and splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.cluster import Cluster
from pipeline.defaults import TEST, VALIDATION
from pipeline.errors import ImagesError
from pipeline.images.content_hashes import read_contents
from pipeline.images.ids import MISSING, Ids, match_ids
from pipeline.images.labels import list_images
from pipeline.images.splits import assign_splits
from pipeline.images.table import NO_GROUP, ImageTable, Skipped


def scan_images(
    source: str | Path,
    *,
    validation: float = VALIDATION,
    test: float = TEST,
    known: ImageTable | None = None,
    cluster: Cluster | None = None,
    on_read: Callable[[int, int], None] = lambda done, total: None,
) -> ImageTable:
    """Find the labelled images of a data set.

    Parameters
    ----------
    source : path
        A folder with one folder per class; the same below `train/`, `validation/`, `test/`; a flat
        folder whose file names hold the label (`cat.17.jpg`); or a CSV file with the columns
        `path,label` and, optionally, `split,group`. Folders are taken for splits if every folder has
        the name of a split and one of them is `train`; otherwise each folder is a class.
    validation, test : float
        Fractions of the images for the splits that are not given.
    known : ImageTable, optional
        The table of an earlier scan (`open_features(dir).images`). Files whose size and time are the
        same are not read again.
    cluster : Cluster, optional
        Workers that read the files, see `open_cluster`; they must have them under the same paths.
    on_read : callable
        Called as `on_read(done, total)` while files are read.

    Returns
    -------
    ImageTable
        A pure function of the files; sorted by id.

    Raises
    ------
    ImagesError
        The source does not exist, holds no images, one class only or a class with a single image, or
        is a CSV file with a missing column or path.
    """
    source = Path(source)
    listed, skipped = _list_files(source)
    root = source if source.is_dir() else source.parent
    contents, readable, is_image = _contents(root, listed, known, on_read, cluster)
    if not is_image.all():
        skipped += [Skipped(listed.ids[i], "is no image") for i in np.flatnonzero(~is_image).tolist()]
        listed, contents, readable = listed.take(is_image), contents[is_image], readable[is_image]
    _check_classes(source, listed.labels, skipped)
    return _table(root, listed, contents, readable, skipped, validation, test)


class _Listed(NamedTuple):
    """Files that may be images, sorted by id; columns take a third of the memory of `Entry` objects."""

    ids: Ids
    labels: list[str | None]
    splits: list[str | None]  # that are given
    groups: list[str | None]
    sizes: np.ndarray
    mtimes: np.ndarray

    def take(self, chosen: np.ndarray) -> _Listed:
        """Return the files where `chosen`, (n,) bool, is True."""
        labels, splits, groups = (list(compress(column, chosen)) for column in (self.labels, self.splits, self.groups))
        ids = Ids.pack(compress(self.ids, chosen))
        return _Listed(ids, labels, splits, groups, self.sizes[chosen], self.mtimes[chosen])


def _list_files(source: Path) -> tuple[_Listed, list[Skipped]]:
    entries, skipped = list_images(source)
    entries.sort(key=lambda entry: entry.id)
    listed = _Listed(
        Ids.pack(entry.id for entry in entries),
        [entry.label for entry in entries],
        [entry.split for entry in entries],
        [entry.group for entry in entries],
        np.array([entry.size for entry in entries], np.int64),
        np.array([entry.mtime for entry in entries], np.int64),
    )
    return listed, skipped


def _contents(
    root: Path,
    listed: _Listed,
    known: ImageTable | None,
    on_read: Callable[[int, int], None],
    cluster: Cluster | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the contents, from `known` where size and time are equal, and which files can be read and are images."""
    n = len(listed.ids)
    contents, readable, is_image = np.zeros((n, 32), np.uint8), np.zeros(n, bool), np.ones(n, bool)
    if known is not None and known.root == root.absolute():  # in another folder, equal names prove nothing
        index = match_ids(listed.ids, known.ids)
        rows = np.flatnonzero(index != MISSING)
        index = index[rows]
        is_same = (listed.sizes[rows] == known.sizes[index]) & (listed.mtimes[rows] == known.mtimes[index])
        is_same &= known.readable[index]
        contents[rows[is_same]], readable[rows[is_same]] = known.contents[index[is_same]], True
    unread = np.flatnonzero(~readable)
    read = read_contents(root, Ids.pack(compress(listed.ids, ~readable)), on_read, cluster)
    contents[unread] = np.frombuffer(b"".join(content or bytes(32) for content in read), np.uint8).reshape(-1, 32)
    readable[unread] = [bool(content) for content in read]
    is_image[unread] = [content is not None for content in read]
    return contents, readable, is_image


def _check_classes(source: Path, labels: list[str | None], skipped: list[Skipped]) -> None:
    counts = Counter(labels)
    if not counts:
        hint = f"; {skipped[0].path} {skipped[0].reason}" if skipped else ""
        raise ImagesError(f"no images in {source}{hint}; put them into one folder per class")
    if len(counts) == 1:
        raise ImagesError(f"one class only in {source}: '{next(iter(counts))}'; a classifier needs two or more")
    single = sorted(str(label) for label, n in counts.items() if n == 1)
    if single:
        raise ImagesError(f"one image only in {source} of class {', '.join(single[:5])}; a class needs two or more")


def _table(
    root: Path,
    listed: _Listed,
    contents: np.ndarray,
    readable: np.ndarray,
    skipped: list[Skipped],
    validation: float,
    test: float,
) -> ImageTable:
    classes = tuple(sorted(set(map(str, listed.labels))))
    class_index = {name: index for index, name in enumerate(classes)}
    group_index = {name: index for index, name in enumerate(sorted({group for group in listed.groups if group}))}
    images = ImageTable(
        root=root.absolute(),
        ids=listed.ids,
        labels=np.array([class_index[str(label)] for label in listed.labels], np.int32),
        split_codes=np.zeros(len(listed.ids), np.int8),
        classes=classes,
        sizes=listed.sizes,
        mtimes=listed.mtimes,
        contents=contents,
        readable=readable,
        groups=np.array([group_index.get(group or "", NO_GROUP) for group in listed.groups], np.int32),
        skipped=skipped,
    )
    keys = images.content_keys()
    for i in np.flatnonzero(~readable).tolist():  # the id takes the place of the content, so that it has a split
        keys[i] = images.ids[i].encode(errors="surrogateescape")
    split_codes = assign_splits(keys, listed.groups, listed.splits, validation, test)
    return replace(images, split_codes=split_codes)
