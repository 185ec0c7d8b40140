"""What stage one has to do: pure functions of the images and the store."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from pipeline.images.equal_contents import first_equal
from pipeline.images.ids import MISSING, match_ids
from pipeline.images.status import UNREAD
from pipeline.images.table import ImageTable
from pipeline.store import NO_ROW, FeatureStore, Index

MAX_ROWS = 512  # in a shard
MAX_BYTES = 64 << 20  # of the features of a shard, which is built in memory


@dataclass(frozen=True)
class Changes:
    """Numbers of images that differ from those that the store was last filled with."""

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
        return self != Changes()


@dataclass(frozen=True)
class ExtractionPlan:
    """The next index of a store, and the shards to compute for it."""

    index: Index
    pending: np.ndarray  # (shards, 2), int64: first row and end of each shard that is not finished, in order
    changes: Changes  # how the images differ from those of the store

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First row and end of each pending shard."""
        return [(start, stop) for start, stop in self.pending.tolist()]

    @property
    def rows_pending(self) -> int:
        """Number of forward passes to make."""
        return int(np.diff(self.pending).sum())

    @property
    def images_cached(self) -> int:
        """Number of images whose features are stored already."""
        is_cached = np.ones(len(self.index.contents), bool)
        for start, stop in self.pending.tolist():
            is_cached[start:stop] = False
        return int(is_cached[self.index.rows[self.index.rows != NO_ROW]].sum())


def rows_per_shard(bytes_per_row: int) -> int:
    """Return the number of rows of a shard: 512 of (4, 4, 512) float16, fewer of larger features."""
    return max(1, min(MAX_ROWS, MAX_BYTES // bytes_per_row))


def plan_update(images: ImageTable, store: FeatureStore) -> ExtractionPlan:
    """Plan what a store needs to hold the features of these images; files that could not be read are tried again."""
    finished = {(shard.start, shard.stop) for shard in store.shards_in_place()}
    retry = rows_to_retry(store)
    return make_plan(images, store.index, finished, rows_per_shard=store.manifest.rows_per_shard, retry=retry)


def rows_to_retry(store: FeatureStore) -> set[int]:
    """Return the rows whose image was gone or could not be read when they were computed."""
    return {bad.row for shard in store.manifest.shards for bad in shard.bad if bad.status in UNREAD}


def make_plan(
    images: ImageTable,
    old: Index | None,
    finished: Collection[tuple[int, int]],
    *,
    rows_per_shard: int,
    retry: Collection[int] = (),
) -> ExtractionPlan:
    """Give each content a row, and keep the rows of finished shards.

    `old` is the index of the store, None for a new one, `finished` its ranges (start, stop) that have a
    finished shard. The contents of the finished rows in `retry` get new rows. Ranges after the last
    finished one are planned anew. So an interrupted run that is started again with the same images makes
    the same shards as an uninterrupted one. Ranges before it that are not finished, because a shard was
    lost, keep their rows.
    """
    ranges, contents = np.empty((0, 2), np.int64), np.empty((0, 32), np.uint8)
    if old is not None:
        is_finished = [tuple(pair) in finished for pair in old.ranges.tolist()]
        ranges = old.ranges[: max(np.flatnonzero(is_finished), default=-1) + 1]
        contents = old.contents[: ranges[-1, 1] if len(ranges) else 0]
    # The last of equal rows is kept, and the first of equal images gets the next row.
    kept = np.flatnonzero(np.isin(np.arange(len(contents)), list(retry), invert=True))[::-1]
    readable = np.flatnonzero(images.readable)
    first = first_equal(np.concatenate([contents[kept], images.contents[readable]]))
    is_added = first[len(kept) :] == np.arange(len(kept), len(first))
    rows = np.full(len(images), NO_ROW, np.int64)
    rows[readable] = np.append(kept, len(contents) - 1 + np.cumsum(is_added))[first[len(kept) :]]
    added = images.contents[readable[is_added]]
    end = len(contents) + len(added)
    starts = np.arange(len(contents), end, rows_per_shard, dtype=np.int64)
    new_ranges = np.stack([starts, np.minimum(starts + rows_per_shard, end)], axis=1)
    lost = np.array([pair for pair in ranges.tolist() if tuple(pair) not in finished], np.int64).reshape(-1, 2)
    index = Index(
        images=images,
        rows=rows,
        contents=np.concatenate([contents, added]),
        ranges=np.concatenate([ranges, new_ranges]),
    )
    changes = compare_images(old.images if old is not None else None, images)
    return ExtractionPlan(index, np.concatenate([lost, new_ranges]), changes)


def compare_images(old: ImageTable | None, new: ImageTable) -> Changes:
    """Count the differences; an image that is gone and whose content has a new id was moved."""
    if old is None:
        return Changes(added=len(new))
    old_image = match_ids(new.ids, old.ids)
    fresh, same_id = np.flatnonzero(old_image == MISSING), np.flatnonzero(old_image != MISSING)
    old_image = old_image[same_id]
    gone = np.delete(np.arange(len(old)), old_image)
    first = first_equal(np.concatenate([old.contents[gone], new.contents[fresh]]))
    n_gone, n_fresh = (np.bincount(part, minlength=len(first)) for part in (first[: len(gone)], first[len(gone) :]))
    moved = int(np.minimum(n_gone, n_fresh).sum())  # of each content
    changed = (old.contents[old_image] != new.contents[same_id]).any(axis=1).sum()
    old_label, new_label = old.labels[old_image], new.labels[same_id]
    relabelled = (np.array(old.classes, object)[old_label] != np.array(new.classes, object)[new_label]).sum()
    return Changes(len(fresh) - moved, int(changed), len(gone) - moved, moved, int(relabelled))
