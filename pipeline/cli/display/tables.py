"""Descriptions of images, stores, findings and exported models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.cli import console
from pipeline.images.table import SPLITS, ImageTable

if TYPE_CHECKING:
    pass


def show_images(images: ImageTable, source: str) -> None:
    """Print the number of images of each class and split, and the files that were skipped."""
    console.say(f"images     {len(images)} in {source}")
    counts = images.counts()
    used = [i for i in range(len(SPLITS)) if counts[:, i].any()]
    rows = [[name, *(str(row[i]) for i in used)] for name, row in zip(images.classes, counts, strict=True)]
    total = ["all", *(str(counts[:, i].sum()) for i in used)]
    _print_class_table([SPLITS[i] for i in used], rows, total)
    console.list_some("skipped", [f"{path} {reason}" for path, reason in images.skipped])


def show_classes(classes: dict[str, dict[str, int]]) -> None:
    """Print the number of images of each class and split of a store."""
    _print_class_table(SPLITS, [[name, *map(str, counts.values())] for name, counts in classes.items()])


def _print_class_table(splits: Sequence[str], rows: list[list[str]], total: list[str] | None = None) -> None:
    shown = rows[: console.MAX_LISTED]
    if len(rows) > len(shown):
        shown.append([f"... {len(rows) - len(shown)} more", *("" for _ in splits)])
    console.print_table(["class", *splits], [*shown, *([total] if total else [])], numbers=True)
