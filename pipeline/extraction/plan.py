"""What stage one has to do, before anything is done: pure functions of images and store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from pipeline.images.table import ImageTable
from pipeline.store import NO_ROW, Index

MAX_ROWS = 512  # in a shard
MAX_BYTES = 64 << 20  # of features in a shard, as it is built in memory


@dataclass(frozen=True)
class Changes:
    """How the images differ from those the store was last filled with."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    moved: int = 0
    relabelled: int = 0

    def __str__(self) -> str:
        words = [f"+{self.added} ~{self.changed} -{self.removed}"]
        words += [f"moved {self.moved}"] if self.moved else []
        words += [f"relabelled {self.relabelled}"] if self.relabelled else []
        return " ".join(words)

    def __bool__(self) -> bool:
        return any((self.added, self.changed, self.removed, self.moved, self.relabelled))


@dataclass(frozen=True)
class ExtractionPlan:
    """The index to be, and what is still to be computed for it.

    Attributes
    ----------
    index : Index
    pending : ndarray of shape (shards, 2), int64
        Ranges of rows without a finished shard, in order.
    changes : Changes
    """

    index: Index
    pending: np.ndarray
    changes: Changes

    @property
    def rows_pending(self) -> int:
        """Forward passes to be made."""
        return int((self.pending[:, 1] - self.pending[:, 0]).sum())

    @property
    def images_cached(self) -> int:
        """Images whose features are there already."""
        rows = self.index.rows[self.index.rows != NO_ROW]
        if not len(self.pending):
            return len(rows)
        place = np.searchsorted(self.pending[:, 0], rows, side="right") - 1
        waiting = (place >= 0) & (rows < self.pending[place, 1])
        return int(len(rows) - waiting.sum())


def rows_per_shard(bytes_per_row: int) -> int:
    """How many rows a shard gets: 512 of (4, 4, 512) float16, fewer of larger features."""
    return max(1, min(MAX_ROWS, MAX_BYTES // bytes_per_row))


def make_plan(
    images: ImageTable,
    old: Index | None,
    finished: Collection[tuple[int, int]],
    *,
    rows_per_shard: int,
    retry: Collection[int] = (),
) -> ExtractionPlan:
    """Give every content a row, keeping the rows that are finished.

    Parameters
    ----------
    images : ImageTable
    old : Index, optional
        What the store holds now.
    finished : collection of (start, stop)
        The ranges of `old` that have a good shard.
    rows_per_shard : int
    retry : collection of int
        Finished rows that are worth another try; their contents get new rows.

    Notes
    -----
    Ranges after the last finished one are planned anew; so an interrupted run that is started
    again with the same images makes the same shards as one that was never interrupted. Ranges
    before it that are not finished (a lost shard) keep their rows.
    """
    kept = np.empty((0, 2), np.int64)
    contents = np.empty((0, 32), np.uint8)
    if old is not None:
        done = [tuple(pair) in finished for pair in old.ranges.tolist()]
        kept = old.ranges[: max(np.flatnonzero(done), default=-1) + 1]
        contents = old.contents[: kept[-1, 1] if len(kept) else 0]
    row_of = {key: row for row, key in enumerate(_keys(contents)) if row not in retry}
    rows = np.full(len(images), NO_ROW, np.int64)
    fresh: list[bytes] = []
    for at, (key, readable) in enumerate(zip(images.content_keys(), images.readable, strict=True)):
        if readable:
            row = row_of.setdefault(key, len(contents) + len(fresh))
            if row == len(contents) + len(fresh):
                fresh.append(key)
            rows[at] = row
    added = _ranges(len(contents), len(contents) + len(fresh), rows_per_shard)
    index = Index(
        images=images,
        rows=rows,
        contents=np.concatenate([contents, np.frombuffer(b"".join(fresh), np.uint8).reshape(-1, 32)]),
        ranges=np.concatenate([kept, added]),
    )
    holes = [pair for pair in kept.tolist() if tuple(pair) not in finished]
    pending = np.concatenate([np.array(holes, np.int64).reshape(-1, 2), added])
    return ExtractionPlan(index, pending, compare_images(old.images if old is not None else None, images))


def compare_images(old: ImageTable | None, new: ImageTable) -> Changes:
    """Count what became of the images; a file that is gone and whose content turned up elsewhere was moved."""
    if old is None:
        return Changes(added=len(new))
    before = {id: at for at, id in enumerate(old.ids)}
    after = set(new.ids)
    old_keys, new_keys = old.content_keys(), new.content_keys()
    gone = Counter(old_keys[at] for id, at in before.items() if id not in after)
    removed = gone.total()
    added = changed = moved = relabelled = 0
    for at, id in enumerate(new.ids):
        was = before.get(id)
        if was is None:
            if gone[new_keys[at]] > 0:
                gone[new_keys[at]] -= 1
                moved += 1
            else:
                added += 1
        else:
            changed += old_keys[was] != new_keys[at]
            relabelled += old.classes[old.labels[was]] != new.classes[new.labels[at]]
    return Changes(added, changed, removed - moved, moved, relabelled)


def _keys(contents: np.ndarray) -> list[bytes]:
    flat = contents.tobytes()
    return [flat[at : at + 32] for at in range(0, len(flat), 32)]


def _ranges(start: int, stop: int, step: int) -> np.ndarray:
    starts = np.arange(start, stop, step, dtype=np.int64)
    return np.stack([starts, np.minimum(starts + step, stop)], axis=1)
