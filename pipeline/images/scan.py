"""Which images there are: listed, labelled, identified by content, and split. No TensorFlow."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.defaults import TEST, VALIDATION
from pipeline.errors import ImagesError
from pipeline.images.contents import Known, Unusable, read_contents
from pipeline.images.listing import Entry, list_images
from pipeline.images.splits import assign_splits
from pipeline.images.table import NO_GROUP, ImageTable, Skipped

logger = logging.getLogger(__name__)


def scan_images(
    source: str | Path,
    *,
    validation: float = VALIDATION,
    test: float = TEST,
    known: ImageTable | None = None,
    on_read: Callable[[int, int], None] = lambda done, total: None,
) -> ImageTable:
    """Find the labelled images of a data set.

    Parameters
    ----------
    source : path
        A folder with one folder a class; the same under `train/`, `validation/`, `test/`; a flat
        folder whose file names carry the label (`cat.17.jpg`); or a CSV file with the columns
        `path,label` and, if you like, `split,group`.
    validation, test : float
        Fractions of the images for the splits that are not given.
    known : ImageTable, optional
        The images as last seen (`open_features(dir).images`): files of the same size and time are
        not read again.
    on_read : callable
        Called as `on_read(done, total)` while files are read.

    Returns
    -------
    ImageTable
        A pure function of the files; sorted by id.

    Raises
    ------
    ImagesError
        No such folder, no images, one class only, a class with a single image, a manifest with a
        missing column or path.
    """
    source = Path(source)
    listing = list_images(source)
    contents = read_contents(listing.root, listing.entries, _known(known, listing.root), on_read)
    skipped = listing.skipped + [
        Skipped(entry.id, "is no image")
        for entry, content in zip(listing.entries, contents, strict=True)
        if content is Unusable.NO_IMAGE
    ]
    pairs = [
        (entry, content if isinstance(content, bytes) else None)
        for entry, content in zip(listing.entries, contents, strict=True)
        if content is not Unusable.NO_IMAGE
    ]
    pairs.sort(key=lambda pair: pair[0].id)
    _check_classes(source, [entry for entry, _ in pairs], skipped)
    return _table(listing.root, pairs, skipped, validation, test)


def _known(table: ImageTable | None, root: Path) -> Known:
    if table is None or table.root != root.absolute():  # another folder: equal names and times prove nothing
        return {}
    seen = zip(
        table.ids, table.sizes.tolist(), table.mtimes.tolist(), table.content_keys(), table.readable, strict=True
    )
    return {id: (size, mtime, content) for id, size, mtime, content, readable in seen if readable}


def _check_classes(source: Path, entries: list[Entry], skipped: list[Skipped]) -> None:
    sizes = Counter(entry.label for entry in entries)
    if not sizes:
        hint = f"; {skipped[0].path} {skipped[0].reason}" if skipped else ""
        raise ImagesError(f"no images in {source}{hint}; put them into one folder a class")
    if len(sizes) == 1:
        raise ImagesError(f"one class only in {source}: '{next(iter(sizes))}'; a classifier needs two or more")
    single = sorted(str(label) for label, n in sizes.items() if n == 1)
    if single:
        raise ImagesError(f"one image only in {source} of class {', '.join(single[:5])}; a class needs two or more")


def _table(
    root: Path, pairs: list[tuple[Entry, bytes | None]], skipped: list[Skipped], validation: float, test: float
) -> ImageTable:
    entries = [entry for entry, _ in pairs]
    classes = tuple(sorted({str(entry.label) for entry in entries}))
    number = {name: index for index, name in enumerate(classes)}
    group_number = {name: index for index, name in enumerate(sorted({e.group for e in entries if e.group}))}
    # A file that cannot be read has no content: its name stands in, so that it has a split at all.
    keys = [content or entry.id.encode(errors="surrogateescape") for entry, content in pairs]
    splits = assign_splits(
        keys, [entry.group for entry in entries], [entry.split for entry in entries], validation=validation, test=test
    )
    digests = b"".join(content or bytes(32) for _, content in pairs)
    return ImageTable(
        root=root.absolute(),
        ids=[entry.id for entry in entries],
        labels=np.array([number[str(entry.label)] for entry in entries], np.int32),
        split_codes=splits,
        classes=classes,
        sizes=np.array([entry.size for entry in entries], np.int64),
        mtimes=np.array([entry.mtime for entry in entries], np.int64),
        contents=np.frombuffer(digests, np.uint8).reshape(-1, 32),
        readable=np.array([content is not None for _, content in pairs], bool),
        groups=np.array([group_number.get(entry.group or "", NO_GROUP) for entry in entries], np.int32),
        skipped=skipped,
    )
