"""Images without labels: files, folders of any layout and CSV files with a column `path`."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.errors import ImagesError
from pipeline.images.csv_list import read_csv_rows
from pipeline.images.folder_walk import FolderWalk
from pipeline.images.formats import FIRST_BYTES, IMAGE_SUFFIXES, may_be_image
from pipeline.images.table import Skipped


def find_images(
    sources: Iterable[str | os.PathLike[str]], on_skipped: Callable[[Skipped], None] = lambda skipped: None
) -> Iterator[str]:
    """Yield the paths of the images in `sources`, while folders and CSV files are being read.

    Sources are folders, in which every image at any depth counts; CSV files with a column `path`, relative
    to the file; anything else is taken for an image, whether it exists or not. Paths come in the order of
    `sources`, sorted within a folder. `on_skipped` is called with what is no image inside a folder.
    """
    for source in sources:
        path = Path(source)
        if path.is_dir():
            yield from _in_folder(path, on_skipped)
        elif path.suffix.lower() == ".csv":
            for line, row in read_csv_rows(path, ("path",)):
                if not row["path"]:
                    raise ImagesError(f"{path} line {line}: no path")
                yield str(path.parent / row["path"])
        else:
            yield os.fspath(source)


def check_sources(sources: Iterable[str | os.PathLike[str]]) -> None:
    """Check that each of `sources` is an existing file or folder; an ImagesError names the first that is not."""
    for source in sources:
        path = Path(source)
        if not os.fspath(source) or not path.exists():
            raise ImagesError(f"no such image, folder or CSV file: {source or repr(source)}")
        if not path.is_dir() and not path.is_file():
            raise ImagesError(f"{source} is neither a file nor a folder")


def _in_folder(folder: Path, on_skipped: Callable[[Skipped], None]) -> Iterator[str]:
    walk = FolderWalk(folder)
    for entry in walk.files_below():
        path = folder / entry.id
        if _is_image(path):
            yield str(path)
        else:
            on_skipped(Skipped(str(path), "is no image"))
    for skipped in walk.skipped:
        on_skipped(Skipped(str(folder / skipped.path), skipped.reason))


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with open(path, "rb", buffering=0) as file:
            return may_be_image(path, file.read(FIRST_BYTES))
    except OSError:  # the error is reported when the image is decoded
        return True
