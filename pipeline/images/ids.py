"""`Ids`: the ids of many images in one buffer."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np

PER_STEP = 4096  # ids that are decoded at a time
MISSING = -1


class Ids(Sequence[str]):
    """A sequence of n str that takes 8 bytes an id beside its characters; a list takes 57.

    Attributes
    ----------
    data : bytes or bytearray
        All ids without a separator, as UTF-8 with surrogate escapes.
    bounds : ndarray of shape (n + 1,), int64
        Id i is `data[bounds[i]:bounds[i + 1]]`.
    """

    def __init__(self, data: bytes | bytearray, bounds: np.ndarray):
        self.data, self.bounds = data, bounds

    @classmethod
    def pack(cls, ids: Iterable[str]) -> Ids:
        """Return `ids` as `Ids`; those that are so already are not copied."""
        if isinstance(ids, cls):
            return ids
        data, bounds = bytearray(), array("q", [0])
        for id in ids:
            data += id.encode("utf-8", "surrogateescape")
            bounds.append(len(data))
        return cls(data, np.frombuffer(bounds, np.int64))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, i: int) -> str: ...

    @overload
    def __getitem__(self, i: slice) -> list[str]: ...

    def __getitem__(self, i: int | slice) -> str | list[str]:
        rows = range(len(self))[i]
        if isinstance(rows, int):
            return self.data[self.bounds[rows] : self.bounds[rows + 1]].decode("utf-8", "surrogateescape")
        if rows.step != 1:
            return [self[row] for row in rows]
        bounds = self.bounds[rows.start : max(rows.stop, rows.start) + 1].tolist()
        return [self.data[start:stop].decode("utf-8", "surrogateescape") for start, stop in pairwise(bounds)]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), PER_STEP):
            yield from self[start : start + PER_STEP]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return self.data == other.data and np.array_equal(self.bounds, other.bounds)
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return f"<Ids: {len(self)}, {', '.join(map(repr, self[:3]))}{', ...' * (len(self) > 3)}>"


def match_ids(ids: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Find each of `ids` in `others`, both sorted; return indices, ndarray of shape (n,), int64, or `MISSING`."""
    if ids == others:
        return np.arange(len(ids))
    indices = np.full(len(ids), MISSING, np.int64)
    numbered = enumerate(others)
    index, other = next(numbered, (MISSING, None))
    for i, id in enumerate(ids):
        while other is not None and other < id:
            index, other = next(numbered, (MISSING, None))
        if other == id:
            indices[i] = index
    return indices
