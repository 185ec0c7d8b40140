"""The table of classes and splits."""

from __future__ import annotations

from pipeline.cli import console
from pipeline.images.table import SPLITS, ImageTable


def print_classes(images: ImageTable) -> None:
    """Print the number of images of each class in each split that has images."""
    counts = images.counts()
    splits = [i for i in range(len(SPLITS)) if counts[:, i].any()]
    rows = [[name, *(str(row[i]) for i in splits)] for name, row in zip(images.classes, counts, strict=True)]
    shown = rows[: console.MAX_LISTED]
    if len(rows) > len(shown):
        shown.append([f"... {len(rows) - len(shown)} more", *("" for _ in splits)])
    shown.append(["all", *(str(counts[:, i].sum()) for i in splits)])
    console.print_table(["class", *(SPLITS[i] for i in splits)], shown, numbers=True)
