"""`FeatureStore`: a store as a reader sees it: complete shards only, all of it checked."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.images.status import Status
from pipeline.images.table import NO_GROUP, SPLITS, ImageTable
from pipeline.store.index import NO_ROW, Index
from pipeline.store.layout import FINETUNING, HEADS
from pipeline.store.manifest import Manifest, ShardEntry, stored_spec
from pipeline.store.read_rows import FeatureRows
from pipeline.store.rows_by_content import RowsByContent
from pipeline.store.shard_reader import ShardReader


class BadImage(NamedTuple):
    """An image without features, and why."""

    id: str
    status: Status
    reason: str


class FeatureStore:
    """The features of a data set on disk.

    Attributes
    ----------
    directory : Path
    manifest : Manifest
    index : Index
    """

    def __init__(self, directory: Path, manifest: Manifest, index: Index):
        self.directory = directory
        self.manifest = manifest
        self.index = index
        self.shards = ShardReader(directory, manifest, index)

    def __repr__(self) -> str:
        return f"<FeatureStore {self.directory}: {len(self.images)} images, features {self.feature_shape}>"

    @property
    def images(self) -> ImageTable:
        """All images of the data set, those without features too."""
        return self.index.images

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, sorted; labels are indices into them."""
        return self.images.classes

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.manifest.feature_shape

    @property
    def dtype(self) -> np.dtype:
        """The dtype that features are stored in."""
        return self.manifest.dtype

    @property
    def bytes_per_row(self) -> int:
        """Bytes of one row of features, as stored."""
        return int(np.prod(self.feature_shape)) * self.dtype.itemsize

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the spec that the features were made with."""
        return self.manifest.fingerprint

    @property
    def spec(self) -> ConvBaseSpec:
        """The spec that the features were made with, resolved."""
        return stored_spec(self.manifest)

    @property
    def heads_directory(self) -> Path:
        """Where trained heads are kept."""
        return self.directory / HEADS

    @property
    def finetuning_directory(self) -> Path:
        """Where fine-tuning keeps what it goes on from after an interruption."""
        return self.directory / FINETUNING

    @property
    def random_weights(self) -> bool:
        """Whether the conv base has never seen a photo; then accuracies say little."""
        return self.manifest.sources.get("weights") == "random"

    @cached_property
    def row_status(self) -> np.ndarray:
        """The status of each row of the shards, ndarray of shape (m,), uint8; 0 where none is written yet."""
        status = np.full(len(self.index.contents), Status.NEVER_WRITTEN, np.uint8)
        for shard in self.manifest.shards:
            status[shard.start : shard.stop] = Status.OK
            for bad in shard.bad:
                status[bad.row] = bad.status
        return status

    @cached_property
    def status(self) -> np.ndarray:
        """The status of each image, ndarray of shape (n,), uint8."""
        status = np.full(len(self.images), Status.UNREADABLE, np.uint8)
        has_row = self.index.rows != NO_ROW
        status[has_row] = self.row_status[self.index.rows[has_row]]
        return status

    @property
    def bad(self) -> list[BadImage]:
        """Images that were tried and have no features."""
        tried = np.flatnonzero((self.status != Status.OK) & ~self._waiting)
        rows, reasons = self.index.rows, self._reasons
        return [
            BadImage(self.images.ids[i], Status(self.status[i]), reasons.get(int(rows[i]), "cannot be read"))
            for i in tried.tolist()
        ]

    @property
    def pending(self) -> int:
        """How many images wait for features; not 0 after an interruption."""
        return int(np.count_nonzero(self._waiting))

    @cached_property
    def _reasons(self) -> dict[int, str]:
        return {bad.row: bad.reason for shard in self.manifest.shards for bad in shard.bad}

    @property
    def _waiting(self) -> np.ndarray:
        """Which images are in no finished shard yet; a row that was tried when its image was gone has a reason."""
        return (self.status == Status.NEVER_WRITTEN) & ~np.isin(self.index.rows, list(self._reasons))

    def missing_shards(self) -> list[ShardEntry]:
        """Finished shards whose files are gone or have another size; a look at the directory, no more."""
        return [entry for entry in self.manifest.shards if _file_size(self.shards.path(entry)) != entry.bytes]

    def members(self, split: str | None = None) -> np.ndarray:
        """The images with features, as indices into `images`, ndarray of int64; of one split or of all.

        Raises
        ------
        ValueError
            No such split.
        """
        usable = self.status == Status.OK
        if split is not None:
            if split not in SPLITS:
                raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
            usable &= self.images.split_codes == SPLITS.index(split)
        return np.flatnonzero(usable)

    def load(self, split: str | None = None, *, dtype: str | np.dtype | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of a split.

        Parameters
        ----------
        split : {"train", "validation", "test"}, optional
            All images with features if not given.
        dtype : dtype, optional
            float16 or float32; as stored if not given.

        Returns
        -------
        X : ndarray of shape (n, 4, 4, 512), or (n, *feature_shape)
        y : ndarray of shape (n,), int32
            Indices into `classes`, in the order of `ids(split)`.

        Raises
        ------
        StoreDamaged
            A row is not what was written; no numbers are returned then.
        """
        members = self.members(split)
        return self.read_rows(self.index.rows[members], dtype=dtype), self.images.labels[members]

    def on_demand(self, split: str | None = None) -> tuple[FeatureRows, np.ndarray]:
        """Features and labels as of `load(split)`, but that a row is read when it is asked for, by `X[rows]`."""
        members = self.members(split)
        return self.rows_on_demand(self.index.rows[members]), self.images.labels[members]

    def ids(self, split: str | None = None) -> list[str]:
        """The ids of the images of `load(split)`, in its order."""
        return [self.images.ids[member] for member in self.members(split).tolist()]

    def resampling_groups(self, split: str | None = None) -> np.ndarray:
        """What is drawn as one where scores are resampled, ndarray of shape (n,), int64, in the order of `ids(split)`.

        The same number for images of one of the user's groups, and for equal images without a group.
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
