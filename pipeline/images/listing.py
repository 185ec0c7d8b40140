"""Which files a data set is made of, and what each is labelled: folders, names or a CSV file."""

from __future__ import annotations

import csv
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import ImagesError
from pipeline.images.table import SPLITS, Skipped

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
SPLIT_FOLDERS = {"train": "train", "training": "train", "validation": "validation"}
SPLIT_FOLDERS |= {"val": "validation", "valid": "validation", "test": "test", "testing": "test"}
CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
NUMBERED_NAME = re.compile(r"^(?P<label>.*[^\W\d_].*?)[ ._-]*\(?\d+\)?$", re.DOTALL)


@dataclass(slots=True)
class Entry:
    """A file that may be an image, before its bytes were read."""

    id: str
    label: str | None
    split: str | None = None
    group: str | None = None
    size: int = -1
    mtime: int = 0


@dataclass
class Listing:
    """The entries of a data set, and what was passed over."""

    root: Path
    entries: list[Entry] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def list_images(source: Path) -> Listing:
    """List a folder of class folders, of split folders, of labelled names, or a CSV file.

    Raises
    ------
    ImagesError
        No such folder, a file that is no CSV file, a folder that cannot be listed.
    """
    if source.is_dir():
        return Walk(source).listing()
    if not source.exists():
        raise ImagesError(f"no such folder: {source}; give a folder of images or a CSV file with path,label")
    if source.suffix.lower() == ".csv":
        return _read_manifest(source)
    raise ImagesError(f"{source} is a file; give the folder that holds the images, or a CSV file with path,label")


class Walk:
    """One pass over a folder; links out of it are followed once, links within it never."""

    def __init__(self, root: Path):
        self.found = Listing(root)
        self.real_root = os.path.realpath(root)
        self.visited: set[tuple[int, int]] = set()

    def listing(self) -> Listing:
        root = self.found.root
        folders, files = self._children(root, "")
        if any(SPLIT_FOLDERS.get(name.lower()) == "train" for name in folders):
            self._split_folders(folders)
            self._pass_over(files, "lies beside the split folders")
        elif self._class_folders(folders, "", None):
            self._pass_over(files, "lies beside the class folders")
        else:
            self._labelled_names(files, None)
        return self.found

    def files(self) -> Iterator[Entry]:
        """Every file below the folder, whatever its layout, sorted a folder at a time; none has a label."""
        folders, files = self._children(self.found.root, "")
        yield from files
        for name in folders:
            yield from self._files_below(name)

    def _split_folders(self, folders: list[str]) -> None:
        for name in folders:
            split = SPLIT_FOLDERS.get(name.lower())
            if split is None:
                self.found.skipped.append(Skipped(name, "is no split: train, validation or test"))
                continue
            inner_folders, inner_files = self._children(self.found.root / name, f"{name}/")
            if self._class_folders(inner_folders, f"{name}/", split):
                self._pass_over(inner_files, "lies beside the class folders")
            else:
                self._labelled_names(inner_files, split)

    def _class_folders(self, folders: list[str], prefix: str, split: str | None) -> int:
        """Add the images of class folders; returns how many files there were."""
        empty, before = [], len(self.found.entries)
        for name in folders:
            start = len(self.found.entries)
            for entry in self._files_below(f"{prefix}{name}"):
                entry.label, entry.split = name, split
                self.found.entries.append(entry)
            if len(self.found.entries) == start:
                empty.append(Skipped(f"{prefix}{name}", "is an empty class folder"))
        self.found.skipped += empty
        return len(self.found.entries) - before

    def _labelled_names(self, files: list[Entry], split: str | None) -> None:
        for entry in files:
            match = NUMBERED_NAME.match(Path(entry.id).stem)
            if match:
                entry.label, entry.split = match["label"], split
                self.found.entries.append(entry)
            else:
                self.found.skipped.append(Skipped(entry.id, "has no label in its name, as cat.17.jpg has"))

    def _files_below(self, top: str) -> Iterator[Entry]:
        pending = [top]
        while pending:
            folder = pending.pop()
            folders, files = self._children(self.found.root / folder, f"{folder}/")
            yield from files
            pending += [f"{folder}/{name}" for name in reversed(folders)]

    def _children(self, folder: Path, prefix: str) -> tuple[list[str], list[Entry]]:
        """Names of the folders to enter, and an entry for each file, both sorted."""
        folders: list[str] = []
        files: list[Entry] = []
        try:
            with os.scandir(folder) as scan:
                children = sorted(scan, key=lambda child: child.name)
        except OSError as error:
            raise ImagesError(f"{folder} cannot be listed: {error.strerror}; give it read permission") from None
        for child in children:
            if child.name.startswith(".") or child.name.lower() in CLUTTER:
                continue
            reason = self._sort_in(child, prefix, folders, files)
            if reason:
                self.found.skipped.append(Skipped(f"{prefix}{child.name}", reason))
        return folders, files

    def _sort_in(self, child: os.DirEntry[str], prefix: str, folders: list[str], files: list[Entry]) -> str | None:
        """Put a child where it belongs, or say why it is passed over."""
        try:
            status = child.stat()
        except PermissionError:
            files.append(Entry(f"{prefix}{child.name}", None))
            return None
        except OSError:
            return "is a link that leads nowhere"
        if stat.S_ISREG(status.st_mode):
            files.append(Entry(f"{prefix}{child.name}", None, size=status.st_size, mtime=status.st_mtime_ns))
            return None
        if not stat.S_ISDIR(status.st_mode):
            return "is not a regular file"
        if Path(child.name).suffix.lower() in IMAGE_SUFFIXES:
            return "is a folder with the name of an image"
        if child.is_symlink() and self._leads_back(child.path, status):
            return "is a link to a folder that is listed already"
        folders.append(child.name)
        return None

    def _leads_back(self, path: str, status: os.stat_result) -> bool:
        target = os.path.realpath(path)
        inside = os.path.commonpath([target, self.real_root]) in (self.real_root, target)
        seen = (status.st_dev, status.st_ino) in self.visited
        self.visited.add((status.st_dev, status.st_ino))
        return inside or seen

    def _pass_over(self, files: list[Entry], reason: str) -> None:
        self.found.skipped += [Skipped(entry.id, reason) for entry in files]


def _read_manifest(path: Path) -> Listing:
    found = Listing(path.parent)
    lines: dict[str, int] = {}
    for line, row in manifest_rows(path, ("path", "label")):
        entry = _manifest_entry(row, path.parent, f"{path} line {line}")
        if entry.id in lines:
            raise ImagesError(f"{path} line {line}: {entry.id} is listed already, on line {lines[entry.id]}")
        lines[entry.id] = line
        found.entries.append(entry)
    return found


def manifest_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The rows of a CSV file with a header, each with its line number.

    Raises
    ------
    ImagesError
        A column of `needed` is missing, or the file is no CSV file or cannot be read.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            for name in needed:
                if name not in columns:
                    raise ImagesError(f"{path} line 1: no column '{name}'; there is {', '.join(columns) or 'nothing'}")
            for row in rows:
                yield rows.line_num, row
    except csv.Error as error:
        raise ImagesError(f"{path} line {rows.line_num}: {error}") from None
    except OSError as error:
        raise ImagesError(f"{path} cannot be read: {error.strerror}") from None


def _manifest_entry(row: dict[str, str | None], folder: Path, where: str) -> Entry:
    name, label = row["path"] or "", (row["label"] or "").strip()
    if not name or not label:
        raise ImagesError(f"{where}: {'no path' if not name else 'no label'}")
    split = (row.get("split") or "").strip().lower() or None
    if split is not None and split not in SPLIT_FOLDERS:
        raise ImagesError(f"{where}: split '{split}' is not one of {', '.join(SPLITS)}")
    path = folder / name
    entry = Entry(
        id=os.path.normpath(name).replace(os.sep, "/"),
        label=label,
        split=split and SPLIT_FOLDERS[split],
        group=(row.get("group") or "").strip() or None,
    )
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
