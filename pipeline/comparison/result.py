"""`Comparison`: the rows of a comparison and the advice, and the file that keeps them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.comparison.records import Records
from pipeline.comparison.row import ComparedRow
from pipeline.files.durable import read_json, write_json

logger = logging.getLogger(__name__)

FILE = "comparison.json"
FORMAT = 1
WRONG_CONTENT = (KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Comparison:
    """The result of `compare_conv_bases`.

    Attributes
    ----------
    directory : Path
        Where the stores are, one for each row that has no problem.
    rows : tuple of ComparedRow
        The best accuracy first, rows that were scored on more images before others, rows with a problem last.
    advice : tuple of str
        One to six lines: what to take, and its score on the test images.
    images, all_images : int
        How many train and validation images the first row was compared on, and how many there are.
    """

    directory: Path
    rows: tuple[ComparedRow, ...]
    advice: tuple[str, ...]
    images: int
    all_images: int

    @property
    def recommended(self) -> ComparedRow | None:
        """The row to take, if there is one."""
        return next((row for row in self.rows if row.is_recommended), None)

    @property
    def is_whole(self) -> bool:
        """Whether the first row was compared on all images."""
        return self.images >= self.all_images

    def to_json(self) -> dict[str, Any]:
        """Return everything but the directory as numbers, strings, lists and dicts."""
        return {
            "rows": [row.to_json() for row in self.rows],
            "advice": list(self.advice),
            "images": self.images,
            "all_images": self.all_images,
        }

    @classmethod
    def from_json(cls, directory: Path, document: Mapping[str, Any]) -> Comparison:
        """Return the comparison that `to_json` was called on; wrong values raise one of `WRONG_CONTENT`."""
        advice, counts = document["advice"], (document["images"], document["all_images"])
        if not all(isinstance(line, str) for line in advice) or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("its advice is no text, or a number of images is none")
        return cls(directory, tuple(map(ComparedRow.from_json, document["rows"])), tuple(advice), *counts)


def write_comparison_file(comparison: Comparison, records: Records) -> None:
    """Write `comparison.json` durably."""
    document = {"format": FORMAT, **comparison.to_json(), "measured": records.to_json()}
    write_json(comparison.directory / FILE, document)


def read_comparison(directory: Path) -> Comparison | None:
    """Return the comparison of a directory; None if it has none, or with a warning if its file is damaged."""
    document = _read(directory)
    try:
        return None if document is None else Comparison.from_json(directory, document)
    except WRONG_CONTENT as error:
        logger.warning("%s is not as `compare` writes it and is ignored: %s", directory / FILE, error)
        return None


def read_records(directory: Path) -> Records:
    """Return what was measured already; with a warning nothing if the file is damaged."""
    document = _read(directory)
    try:
        return Records() if document is None else Records.from_json(document["measured"])
    except WRONG_CONTENT as error:
        logger.warning("%s is not as `compare` writes it; all is measured again: %s", directory / FILE, error)
        return Records()


def _read(directory: Path) -> dict[str, Any] | None:
    path = directory / FILE
    if not path.is_file():
        return None
    try:
        document = read_json(path)
        if document.get("format") != FORMAT:
            raise ValueError(f"its format is {document.get('format')}, not {FORMAT}")
    except (OSError, ValueError) as error:
        logger.warning("%s is ignored: %s", path, error)
        return None
    return document
