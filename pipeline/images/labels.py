"""Labels, and splits that are given: read from folder names, from file names or from a CSV file."""

import logging
import os
import re
import stat
import sys
from pathlib import Path

from pipeline.errors import ImagesError
from pipeline.images.csv_list import read_csv_rows
from pipeline.images.folder_walk import Entry, FolderWalk
from pipeline.images.table import SPLITS, Skipped

SPLIT_FOLDERS = {"train": "train", "training": "train", "validation": "validation"}
SPLIT_FOLDERS |= {"val": "validation", "valid": "validation", "test": "test", "testing": "test"}
NUMBERED_NAME = re.compile(r"^(?P<label>.*[^\W\d_].*?)[ ._-]*\(?\d+\)?$", re.DOTALL)  # cat.17, rose (3)

logger = logging.getLogger(__name__)


def list_images(source: Path) -> tuple[list[Entry], list[Skipped]]:
    """List the labelled files of a folder or of a CSV file, and the files and folders that are skipped.

    A folder holds class folders, split folders of class folders, or files with labelled names.
    """
    if source.is_dir():
        return _list_folder(source)
    if not source.exists():
        raise ImagesError(f"no such folder: {source}; give a folder of images or a CSV file with path,label")
    if source.suffix.lower() == ".csv":
        return _list_csv(source), []
    raise ImagesError(f"{source} is a file; give the folder that holds the images, or a CSV file with path,label")


def _list_folder(root: Path) -> tuple[list[Entry], list[Skipped]]:
    walk = FolderWalk(root)
    folders, files = walk.children()
    if not _are_split_folders(root, folders):
        return _labelled(walk, folders, files, None), walk.skipped
    entries = []
    for folder in folders:
        entries += _labelled(walk, *walk.children(folder), SPLIT_FOLDERS[folder.lower()])
    walk.skipped += [Skipped(file.id, "lies beside the split folders") for file in files]
    return entries, walk.skipped


def _are_split_folders(root: Path, folders: list[str]) -> bool:
    """Return whether every folder is a split's, one of them train; a class may be named `train`, too."""
    splits = {name: SPLIT_FOLDERS.get(name.lower()) for name in folders}
    others = [name for name, split in splits.items() if split is None]
    if others and "train" in splits.values() and len(set(splits.values())) > 2:
        logger.warning(
            "%s: the folders %s are taken for classes, as %s is not the name of a split; "
            "move everything else out of the folder to use them as splits",
            root,
            ", ".join(name for name, split in splits.items() if split),
            ", ".join(others[:3]),
        )
    return not others and "train" in splits.values()


def _labelled(walk: FolderWalk, folders: list[str], files: list[Entry], split: str | None) -> list[Entry]:
    """Return the images of class folders; where these hold no files, the files whose names hold a label."""
    entries = []
    for folder in folders:
        below = list(walk.files_below(folder))
        if not below:
            walk.skipped.append(Skipped(folder, "is an empty class folder"))
        label = folder.rpartition("/")[2]
        for entry in below:
            entry.label, entry.split = label, split
        entries += below
    if entries:
        walk.skipped += [Skipped(file.id, "lies beside the class folders") for file in files]
        return entries
    for file in files:
        if match := NUMBERED_NAME.match(Path(file.id).stem):
            file.label, file.split = sys.intern(match["label"]), split
            entries.append(file)
        else:
            walk.skipped.append(Skipped(file.id, "has no label in its name, as cat.17.jpg has"))
    return entries


def _list_csv(path: Path) -> list[Entry]:
    entries: list[Entry] = []
    lines: dict[str, int] = {}
    for line, row in read_csv_rows(path, ("path", "label")):
        entry = _csv_entry(row, path.parent, f"{path} line {line}")
        if entry.id in lines:
            raise ImagesError(f"{path} line {line}: {entry.id} is listed already, on line {lines[entry.id]}")
        entries.append(entry)
        lines[entry.id] = line
    return entries


def _csv_entry(row: dict[str, str | None], folder: Path, where: str) -> Entry:
    name, label = row["path"] or "", sys.intern((row["label"] or "").strip())
    if not name or not label:
        raise ImagesError(f"{where}: {'no path' if not name else 'no label'}")
    split = (row.get("split") or "").strip().lower() or None
    if split is not None and split not in SPLIT_FOLDERS:
        raise ImagesError(f"{where}: split '{split}' is not one of {', '.join(SPLITS)}")
    path, group = folder / name, (row.get("group") or "").strip() or None
    entry = Entry(os.path.normpath(name).replace(os.sep, "/"), label, split and SPLIT_FOLDERS[split], group)
    try:
        status = path.stat()
    except PermissionError:
        return entry
    except (OSError, ValueError):
        raise ImagesError(f"{where}: no such image: {path}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ImagesError(f"{where}: {path} is not a file")
    entry.size, entry.mtime = status.st_size, status.st_mtime_ns
    return entry
