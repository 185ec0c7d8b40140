"""Images that are to be labelled: files, folders of any layout and CSV files, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.errors import ImagesError
from pipeline.images.contents import may_be_image
from pipeline.images.listing import IMAGE_SUFFIXES, Walk, manifest_rows
from pipeline.images.table import Skipped

HEAD = 16  # bytes that tell an image


def find_images(
    sources: Iterable[str | os.PathLike[str]], on_skipped: Callable[[Skipped], None] = lambda skipped: None
) -> Iterator[str]:
    """Paths of the images that `sources` stand for, found while they are asked for.

    Parameters
    ----------
    sources : iterable of path
        Folders, in which every image at any depth counts; CSV files with a column `path`, relative
        to the file; anything else is taken for an image, whether it exists or not.
    on_skipped : callable
        Hears of what lies in a folder and is no image.

    Yields
    ------
    str
        In the order of `sources`; sorted within a folder.

    Raises
    ------
    ImagesError
        A folder cannot be listed, a CSV file cannot be read or has no `path`.
    """
    for source in sources:
        path = Path(source)
        if path.is_dir():
            yield from _in_folder(path, on_skipped)
        elif path.suffix.lower() == ".csv":
            yield from _in_manifest(path)
        else:
            yield os.fspath(source)


def check_sources(sources: Iterable[str | os.PathLike[str]]) -> None:
    """Whether each of `sources` is there.

    Raises
    ------
    ImagesError
        One is not, or is neither a file nor a folder.
    """
    for source in sources:
        path = Path(source)
        if not os.fspath(source) or not path.exists():
            raise ImagesError(f"no such image, folder or CSV file: {source or repr(source)}")
        if not path.is_dir() and not path.is_file():
            raise ImagesError(f"{source} is neither a file nor a folder")


def _in_folder(folder: Path, on_skipped: Callable[[Skipped], None]) -> Iterator[str]:
    walk = Walk(folder)
    for entry in walk.files():
        path = folder / entry.id
        if _may_be_image(path):
            yield str(path)
        else:
            on_skipped(Skipped(str(path), "is no image"))
    for skipped in walk.found.skipped:
        on_skipped(Skipped(str(folder / skipped.path), skipped.reason))


def _may_be_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with open(path, "rb", buffering=0) as file:
            return may_be_image(path, file.read(HEAD))
    except OSError:  # why it cannot be read is said when it is to be labelled
        return True


def _in_manifest(path: Path) -> Iterator[str]:
    for line, row in manifest_rows(path, ("path",)):
        if not row["path"]:
            raise ImagesError(f"{path} line {line}: no path")
        yield str(path.parent / row["path"])
