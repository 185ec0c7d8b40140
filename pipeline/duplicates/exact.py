"""Equal files: known from the index of a store, without reading anything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.duplicates.pairs import Duplicates, Pair
from pipeline.images.table import SPLITS, ImageTable


def exact_duplicates(images: ImageTable) -> Duplicates:
    """The images whose files are equal to the last byte, by their sha256; each is paired with the first of its kind."""
    return Duplicates(in_order([exact_pair(images, *pair) for pair in _equal(images)]), len(images))


def exact_pair(images: ImageTable, first: int, second: int) -> Pair:
    """The pair of two images of equal content, given as rows of the table."""
    return make_pair(images, first, second, kind="exact", similarity=1.0, pixels=1.0)


def make_pair(
    images: ImageTable, first: int, second: int, *, kind: str, similarity: float, pixels: float | None
) -> Pair:
    """The pair of two images, given as rows of the table."""
    first, second = sorted((first, second))
    return Pair(
        ids=(images.ids[first], images.ids[second]),
        splits=(SPLITS[images.split_codes[first]], SPLITS[images.split_codes[second]]),
        labels=(images.classes[images.labels[first]], images.classes[images.labels[second]]),
        kind=kind,
        similarity=similarity,
        pixels=pixels,
    )


def in_order(pairs: list[Pair]) -> tuple[Pair, ...]:
    """Pairs as `Duplicates` lists them."""
    return tuple(
        sorted(pairs, key=lambda pair: (not pair.across_splits, not pair.two_labels, -pair.similarity, pair.ids))
    )


def _equal(images: ImageTable) -> Iterator[tuple[int, int]]:
    readable = np.flatnonzero(images.readable)
    _, firsts, group_of = np.unique(images.contents[readable], axis=0, return_index=True, return_inverse=True)
    first = readable[firsts[group_of]]
    for one, other in zip(first.tolist(), readable.tolist(), strict=True):
        if one != other:
            yield one, other
