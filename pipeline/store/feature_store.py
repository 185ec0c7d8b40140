"""`FeatureStore`: images, labels and features of a store, of its finished shards only."""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.images.status import Status
from pipeline.images.table import NO_GROUP, SPLITS
from pipeline.store.file_names import FINETUNING, HEADS
from pipeline.store.index import Index
from pipeline.store.manifest import Manifest, ShardEntry
from pipeline.store.read_rows import FeatureRows
from pipeline.store.rows_by_content import RowsByContent
from pipeline.store.shard_reader import ShardReader
from pipeline.store.store_layout import StoreLayout


class BadImage(NamedTuple):
    """An image without features, and why."""

    id: str
    status: Status
    reason: str


class FeatureStore(StoreLayout):
    """The features of a data set on disk; made by `open_features`. It has the attributes of `StoreLayout`, too.

    Attributes
    ----------
    index : Index
    shards : ShardReader
        Opens the files of the features.
    images : ImageTable
        All images of the data set, also those without features.
    classes : tuple of str
        The class names, sorted; labels are indices into them.
    heads_directory, finetuning_directory : Path
        Where saved heads are, and the state from which an interrupted fine-tuning continues.
    """

    def __init__(self, directory: Path, manifest: Manifest, index: Index):
        super().__init__(directory, manifest)
        self.index, self.shards = index, ShardReader(directory, manifest, index)
        self.images, self.classes = index.images, index.images.classes
        self.heads_directory, self.finetuning_directory = directory / HEADS, directory / FINETUNING

    def __repr__(self) -> str:
        return f"<FeatureStore {self.directory}: {len(self.images)} images, features {self.feature_shape}>"

    @cached_property
    def row_status(self) -> np.ndarray:
        """The status of each row, ndarray of shape (m,), uint8; `NEVER_WRITTEN` in shards that are not finished."""
        status = np.full(len(self.index.contents), Status.NEVER_WRITTEN, np.uint8)
        for shard in self.manifest.shards:
            status[shard.start : shard.stop] = Status.OK
            for bad in shard.bad:
                status[bad.row] = bad.status
        return status

    @cached_property
    def status(self) -> np.ndarray:
        """The status of each image, ndarray of shape (n,), uint8."""
        return np.append(self.row_status, np.uint8(Status.UNREADABLE))[self.index.rows]  # `NO_ROW` is the last

    @cached_property
    def _is_pending(self) -> np.ndarray:
        """Whether each image has a row in a shard that is not finished, ndarray of shape (n,), bool."""
        pending = np.ones(len(self.index.contents), bool)
        for shard in self.manifest.shards:
            pending[shard.start : shard.stop] = False
        return np.append(pending, False)[self.index.rows]  # `NO_ROW` is the last

    @property
    def pending(self) -> int:
        """How many images wait for features; more than 0 after an interruption."""
        return int(np.count_nonzero(self._is_pending))

    @property
    def bad(self) -> list[BadImage]:
        """The images for which stage one found no features."""
        reasons = {bad.row: bad.reason for shard in self.manifest.shards for bad in shard.bad}
        return [
            BadImage(self.images.ids[i], Status(self.status[i]), reasons.get(int(self.index.rows[i]), "cannot be read"))
            for i in np.flatnonzero((self.status != Status.OK) & ~self._is_pending).tolist()
        ]

    def shards_in_place(self) -> tuple[ShardEntry, ...]:
        """Return the finished shards whose files exist and have the size that they should; no file is opened."""
        return tuple(entry for entry in self.manifest.shards if _file_size(self.shards.path(entry)) == entry.bytes)

    def members(self, split: str | None = None) -> np.ndarray:
        """Return the images of a split, or all, that have features: indices into `images`, ndarray of int64.

        Raises
        ------
        ValueError
            There is no such split.
        """
        usable = self.status == Status.OK
        if split is not None:
            if split not in SPLITS:
                raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
            usable &= self.images.split_codes == SPLITS.index(split)
        return np.flatnonzero(usable)

    def load(self, split: str | None = None, *, dtype: str | np.dtype | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Read features and labels of a split into memory.

        Parameters
        ----------
        split : {"train", "validation", "test"}, optional
            All splits if not given. Images without features are left out.
        dtype : dtype, optional
            The dtype of X, float16 or float32; as stored if not given.

        Returns
        -------
        X : ndarray of shape (n, 4, 4, 512), or (n, *feature_shape)
        y : ndarray of shape (n,), int32
            Labels, indices into `classes`. Rows of X and y are in the order of `ids(split)`.

        Raises
        ------
        StoreDamaged
            A shard is not what was written.
        """
        members = self.members(split)
        return self.read_rows(self.index.rows[members], dtype=dtype), self.images.labels[members]

    def on_demand(self, split: str | None = None) -> tuple[FeatureRows, np.ndarray]:
        """Return features and labels like `load(split)`; a row is read when it is indexed, by `X[rows]`."""
        members = self.members(split)
        return self.rows_on_demand(self.index.rows[members]), self.images.labels[members]

    def ids(self, split: str | None = None) -> list[str]:
        """Return the ids of the images of `load(split)`, in the same order."""
        return [self.images.ids[member] for member in self.members(split).tolist()]

    def resampling_groups(self, split: str | None = None) -> np.ndarray:
        """Return the group of each image of `ids(split)`, ndarray of shape (n,), int64, for resampling scores.

        Images of one of the user's groups, and equal images without a group, have the same number.
        """
        members = self.members(split)
        groups, rows = self.images.groups[members], self.index.rows[members]
        return np.where(groups == NO_GROUP, rows, len(self.index.contents) + groups.astype(np.int64))

    def read_rows(self, rows: np.ndarray, *, dtype: str | np.dtype | None = None) -> np.ndarray:
        """Read rows of the store into memory, ndarray of shape (len(rows), *feature_shape); see `FeatureRows`."""
        return self.rows_on_demand(rows).read(dtype=dtype)

    def rows_on_demand(self, rows: np.ndarray) -> FeatureRows:
        """Return rows of the store, ndarray of shape (n,), int64, to be read when they are asked for."""
        return FeatureRows([(self.shards, rows)])

    def rows_by_content(self) -> RowsByContent:
        """Return the rows with features, to be found by the sha256 of an image."""
        return RowsByContent(self.index.contents, np.flatnonzero(self.row_status == Status.OK))


def _file_size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
