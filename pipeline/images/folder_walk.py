"""The files below a folder, with the rules for links, hidden files and what is no regular file."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ImagesError
from pipeline.images.formats import IMAGE_SUFFIXES
from pipeline.images.table import Skipped

IGNORED_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass(slots=True)
class Entry:
    """A file that may be an image; its bytes have not been read yet."""

    id: str
    label: str | None = None
    split: str | None = None
    group: str | None = None
    size: int = -1
    mtime: int = 0


class FolderWalk:
    """List the folders and files below a root folder, by paths relative to it; `skipped` collects what is neither.

    A link to a folder outside the root is followed once; a link to a folder inside is never followed.
    """

    def __init__(self, root: Path):
        self.root = root
        self.skipped: list[Skipped] = []
        self._real_root = os.path.realpath(root)
        self._visited: set[tuple[int, int]] = set()

    def children(self, folder: str = "") -> tuple[list[str], list[Entry]]:
        """Return the paths of the folders inside a folder, and an entry for each file, both sorted."""
        folders: list[str] = []
        files: list[Entry] = []
        try:
            with os.scandir(self.root / folder) as scan:
                children = sorted(scan, key=lambda child: child.name)
        except OSError as error:
            reason = f"{error.strerror}; give it read permission"
            raise ImagesError(f"{self.root / folder} cannot be listed: {reason}") from None
        for child in children:
            path = f"{folder}/{child.name}" if folder else child.name
            if child.name.startswith(".") or child.name.lower() in IGNORED_NAMES:
                continue
            try:
                status = child.stat()
            except PermissionError:  # reading the file fails later, which reports it as unreadable
                files.append(Entry(path))
                continue
            except OSError:
                self.skipped.append(Skipped(path, "is a link that leads nowhere"))
                continue
            if stat.S_ISREG(status.st_mode):
                files.append(Entry(path, size=status.st_size, mtime=status.st_mtime_ns))
            elif why := self._reason_to_skip(child, status):
                self.skipped.append(Skipped(path, why))
            else:
                folders.append(path)
        return folders, files

    def files_below(self, folder: str = "") -> Iterator[Entry]:
        """Yield every file below a folder, at any depth, sorted within each folder."""
        pending = [folder]
        while pending:
            folders, files = self.children(pending.pop())
            yield from files
            pending += reversed(folders)

    def _reason_to_skip(self, child: os.DirEntry[str], status: os.stat_result) -> str | None:
        """Return why what is no regular file is not entered; None for a folder to enter."""
        if not stat.S_ISDIR(status.st_mode):
            return "is not a regular file"
        if Path(child.name).suffix.lower() in IMAGE_SUFFIXES:
            return "is a folder with the name of an image"
        if child.is_symlink() and self._is_listed_already(child.path, status):
            return "is a link to a folder that is listed already"
        return None

    def _is_listed_already(self, link: str, status: os.stat_result) -> bool:
        target, key = os.path.realpath(link), (status.st_dev, status.st_ino)
        is_inside = os.path.commonpath([target, self._real_root]) in (self._real_root, target)
        is_visited = key in self._visited
        self._visited.add(key)
        return is_inside or is_visited
