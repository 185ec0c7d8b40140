"""`scan_images`: the table of a data set's images, with their labels, content and splits."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.defaults import TEST, VALIDATION
from pipeline.errors import ImagesError
from pipeline.images.content_hashes import read_contents
from pipeline.images.folder_walk import Entry
from pipeline.images.labels import list_images
from pipeline.images.splits import assign_splits
from pipeline.images.table import NO_GROUP, ImageTable, Skipped


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
        A folder with one folder per class; the same below `train/`, `validation/`, `test/`; a flat
        folder whose file names hold the label (`cat.17.jpg`); or a CSV file with the columns
        `path,label` and, optionally, `split,group`. Folders are taken for splits if every folder has
        the name of a split and one of them is `train`; otherwise each folder is a class.
    validation, test : float
        Fractions of the images for the splits that are not given.
    known : ImageTable, optional
        The table of an earlier scan (`open_features(dir).images`). Files whose size and time are the
        same are not read again.
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
    entries, skipped = list_images(source)
    root = source if source.is_dir() else source.parent
    contents = _contents(root, entries, known, on_read)
    entries.sort(key=lambda entry: entry.id)
    skipped += [Skipped(entry.id, "is no image") for entry in entries if contents[entry.id] is None]
    entries = [entry for entry in entries if contents[entry.id] is not None]
    _check_classes(source, entries, skipped)
    hashes = [contents[entry.id] or b"" for entry in entries]
    return _table(root, entries, hashes, skipped, validation, test)


def _contents(
    root: Path, entries: list[Entry], known: ImageTable | None, on_read: Callable[[int, int], None]
) -> dict[str, bytes | None]:
    """Return the content of each entry by its id, from `known` where size and time are the same."""
    contents: dict[str, bytes | None] = {}
    if known is not None and known.root == root.absolute():  # in another folder, equal names prove nothing
        stamps = {entry.id: (entry.size, entry.mtime) for entry in entries}
        columns = (known.sizes.tolist(), known.mtimes.tolist(), known.content_keys(), known.readable)
        for id, size, mtime, content, readable in zip(known.ids, *columns, strict=True):
            if readable and stamps.get(id) == (size, mtime):
                contents[id] = content
    unread = [entry.id for entry in entries if entry.id not in contents]
    contents.update(zip(unread, read_contents(root, unread, on_read), strict=True))
    return contents


def _check_classes(source: Path, entries: list[Entry], skipped: list[Skipped]) -> None:
    counts = Counter(entry.label for entry in entries)
    if not counts:
        hint = f"; {skipped[0].path} {skipped[0].reason}" if skipped else ""
        raise ImagesError(f"no images in {source}{hint}; put them into one folder per class")
    if len(counts) == 1:
        raise ImagesError(f"one class only in {source}: '{next(iter(counts))}'; a classifier needs two or more")
    single = sorted(str(label) for label, n in counts.items() if n == 1)
    if single:
        raise ImagesError(f"one image only in {source} of class {', '.join(single[:5])}; a class needs two or more")


def _table(
    root: Path, entries: list[Entry], hashes: list[bytes], skipped: list[Skipped], validation: float, test: float
) -> ImageTable:
    classes = tuple(sorted({str(entry.label) for entry in entries}))
    class_index = {name: index for index, name in enumerate(classes)}
    groups, given = [entry.group for entry in entries], [entry.split for entry in entries]
    group_index = {name: index for index, name in enumerate(sorted({group for group in groups if group}))}
    # The id of a file that cannot be read takes the place of its content, so that it has a split.
    keys = [hash or entry.id.encode(errors="surrogateescape") for entry, hash in zip(entries, hashes, strict=True)]
    return ImageTable(
        root=root.absolute(),
        ids=[entry.id for entry in entries],
        labels=np.array([class_index[str(entry.label)] for entry in entries], np.int32),
        split_codes=assign_splits(keys, groups, given, validation, test),
        classes=classes,
        sizes=np.array([entry.size for entry in entries], np.int64),
        mtimes=np.array([entry.mtime for entry in entries], np.int64),
        contents=np.frombuffer(b"".join(hash or bytes(32) for hash in hashes), np.uint8).reshape(-1, 32),
        readable=np.array([bool(hash) for hash in hashes], bool),
        groups=np.array([group_index.get(group or "", NO_GROUP) for group in groups], np.int32),
        skipped=skipped,
    )
