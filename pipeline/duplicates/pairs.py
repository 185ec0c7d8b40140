"""What a search for duplicates found: pairs of images, and the groups they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Pair(NamedTuple):
    """Two images of the same picture.

    Attributes
    ----------
    ids : (str, str)
        In the order of the store.
    splits : (str, str)
        `train`, `validation` or `test`.
    labels : (str, str)
        Class names.
    kind : {"exact", "near"}
        Equal bytes, or the same picture saved otherwise: another size, quality, brightness, mirrored.
    similarity : float
        Cosine of the two rows of features, from -1 to 1; 1 of exact pairs. Comparable within a store only.
    pixels : float or None
        Correlation of the two pictures as small grey ones, from -1 to 1; None where they could not be read.
    """

    ids: tuple[str, str]
    splits: tuple[str, str]
    labels: tuple[str, str]
    kind: str
    similarity: float
    pixels: float | None

    @property
    def across_splits(self) -> bool:
        """Whether the two are in different splits, so that a head is scored on what it was trained on."""
        return self.splits[0] != self.splits[1]

    @property
    def two_labels(self) -> bool:
        """Whether the two are under different labels; one of them is wrong, or the picture shows both."""
        return self.labels[0] != self.labels[1]


@dataclass(frozen=True)
class Duplicates:
    """The pairs of a data set.

    Attributes
    ----------
    pairs : tuple of Pair
        Across splits first, then under two labels, then the others; the most similar first. Of m
        equal files m - 1 are listed, each with the first. All that belong together are connected by
        pairs, so a group that touches two splits, or two labels, has a pair that does.
    images : int
        Images of the data set.
    rows : int
        Different pictures that were compared by features; 0 where only files were.
    threshold : float or None
        The least `similarity` of a near pair; None where only files were compared.
    """

    pairs: tuple[Pair, ...]
    images: int
    rows: int = 0
    threshold: float | None = None

    @property
    def near(self) -> bool:
        """Whether near duplicates were looked for, not only exact ones."""
        return self.threshold is not None

    @property
    def across_splits(self) -> tuple[Pair, ...]:
        """The pairs in two splits."""
        return tuple(pair for pair in self.pairs if pair.across_splits)

    @property
    def two_labels(self) -> tuple[Pair, ...]:
        """The pairs under two labels."""
        return tuple(pair for pair in self.pairs if pair.two_labels)

    def counts(self) -> dict[str, int | None]:
        """Numbers of pairs: `pairs`, `exact`, `near` (None if not looked for), `across_splits`, `two_labels`."""
        exact = sum(pair.kind == "exact" for pair in self.pairs)
        return {
            "pairs": len(self.pairs),
            "exact": exact,
            "near": len(self.pairs) - exact if self.near else None,
            "across_splits": len(self.across_splits),
            "two_labels": len(self.two_labels),
        }

    def groups(self) -> list[list[str]]:
        """Ids that belong together, in lists of two and more; each list and its first ids sorted."""
        return connected([pair.ids for pair in self.pairs])


def connected(pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The connected components of a graph given by its edges, each sorted."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = sorted({id for pair in pairs for id in pair})
    number = {id: at for at, id in enumerate(ids)}
    edges = [[number[first] for first, _ in pairs], [number[second] for _, second in pairs]]
    graph = coo_array(([True] * len(pairs), edges), shape=(len(ids), len(ids)))
    members: dict[int, list[str]] = {}
    for id, component in zip(ids, connected_components(graph, directed=False)[1].tolist(), strict=True):
        members.setdefault(component, []).append(id)
    return list(members.values())
