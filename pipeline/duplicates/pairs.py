"""The result of a search for duplicates: pairs of images, and the groups that pairs connect."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.images.table import SPLITS, ImageTable


class Pair(NamedTuple):
    """Two images of the same picture.

    The kind is `exact` for equal bytes, `near` for the same picture saved differently: another size,
    quality, brightness, mirrored.
    """

    ids: tuple[str, str]  # in the order of the store
    splits: tuple[str, str]
    labels: tuple[str, str]
    kind: str
    similarity: float  # cosine of the two rows of features; 1 for exact pairs; comparable within a store only
    pixels: float | None  # correlation of the two pictures as small grey ones; None if a file could not be read

    @property
    def across_splits(self) -> bool:
        """Whether the two are in different splits, so that a head is scored on an image it was trained on."""
        return self.splits[0] != self.splits[1]

    @property
    def two_labels(self) -> bool:
        """Whether the two have different labels; one of them is wrong, or the picture shows both classes."""
        return self.labels[0] != self.labels[1]


def make_pair(
    images: ImageTable, rows: Iterable[int], kind: str, similarity: float = 1.0, pixels: float | None = 1.0
) -> Pair:
    """Return the pair of two images, given as rows of the table."""
    first, second = sorted(rows)
    ids = images.ids[first], images.ids[second]
    splits = SPLITS[images.split_codes[first]], SPLITS[images.split_codes[second]]
    labels = images.classes[images.labels[first]], images.classes[images.labels[second]]
    return Pair(ids, splits, labels, kind, similarity, pixels)


@dataclass(frozen=True)
class Duplicates:
    """The duplicates of a data set.

    Attributes
    ----------
    pairs : tuple of Pair
        Pairs across splits first, then pairs with two labels, then the others; within each, the most
        similar first. Of m equal files m - 1 are listed, each with the first. All images of a group
        are connected by pairs, so a group in two splits, or with two labels, has a pair that is.
    images : int
        Number of images in the data set.
    rows : int
        Number of rows that were compared by features; 0 if only files were compared.
    threshold : float or None
        Minimum `similarity` of a near pair; None if only files were compared.
    """

    pairs: tuple[Pair, ...]
    images: int
    rows: int = 0
    threshold: float | None = None

    def __post_init__(self) -> None:
        def rank(pair: Pair) -> tuple[bool, bool, float, tuple[str, str]]:
            return not pair.across_splits, not pair.two_labels, -pair.similarity, pair.ids

        object.__setattr__(self, "pairs", tuple(sorted(self.pairs, key=rank)))

    @property
    def near(self) -> bool:
        """Whether near duplicates were searched, not only exact ones."""
        return self.threshold is not None

    @property
    def across_splits(self) -> tuple[Pair, ...]:
        """The pairs in two splits."""
        return tuple(pair for pair in self.pairs if pair.across_splits)

    @property
    def two_labels(self) -> tuple[Pair, ...]:
        """The pairs with two labels."""
        return tuple(pair for pair in self.pairs if pair.two_labels)

    def counts(self) -> dict[str, int | None]:
        """Return numbers of pairs: `pairs`, `exact`, `near` (None if not searched), `across_splits`, `two_labels`."""
        exact = sum(pair.kind == "exact" for pair in self.pairs)
        return {
            "pairs": len(self.pairs),
            "exact": exact,
            "near": len(self.pairs) - exact if self.near else None,
            "across_splits": len(self.across_splits),
            "two_labels": len(self.two_labels),
        }

    def groups(self) -> list[list[str]]:
        """Return the ids of each group of connected images; the groups, and the ids of each, are sorted."""
        return connected_ids([pair.ids for pair in self.pairs])


def connected_ids(pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return the connected components of a graph given by its edges; each is sorted, and so are they."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = sorted({id for pair in pairs for id in pair})
    row = {id: i for i, id in enumerate(ids)}
    edges = [[row[first] for first, _ in pairs], [row[second] for _, second in pairs]]
    graph = coo_array(([True] * len(pairs), edges), shape=(len(ids), len(ids)))
    members: dict[int, list[str]] = {}
    for id, component in zip(ids, connected_components(graph, directed=False)[1].tolist(), strict=True):
        members.setdefault(component, []).append(id)
    return list(members.values())


def pairs_with_first(rows: np.ndarray, keys: np.ndarray) -> list[tuple[int, int]]:
    """Pair each row (n,) that has the same key (n, ...) as an earlier one with the first of them."""
    _, firsts, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    pairs = zip(rows[firsts[which.ravel()]].tolist(), rows.tolist(), strict=True)
    return [(first, row) for first, row in pairs if first != row]
