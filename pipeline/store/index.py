"""The index of a store: its images, and which row of the shards holds the features of each.

A row belongs to a content, not to a file: two equal files share a row, and a file that is renamed or
relabelled keeps its row.
"""

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import StoreDamaged
from pipeline.files.file_structure import check_hdf5_structure
from pipeline.images.ids import Ids
from pipeline.images.table import COLUMNS, NO_GROUP, SPLITS, ImageTable, Skipped

NO_ROW = -1
REMEDY = "restore it from a copy, or start over with `features IMAGES --rebuild`"


@dataclass(frozen=True)
class Index:
    """All n images of a data set, and the m rows of its store."""

    images: ImageTable
    rows: np.ndarray  # (n,) int64, the row of each image; `NO_ROW` for a file that could not be read
    contents: np.ndarray  # (m, 32) uint8, the sha256 of the image of each row
    ranges: np.ndarray  # (shards, 2) int64, first row and one past the last of each shard, finished or not; 0 to m

    @cached_property
    def image_of_row(self) -> np.ndarray:
        """The first image of each row, ndarray of shape (m,), int64; `NO_ROW` if no image has its content any more."""
        images = np.full(len(self.contents), NO_ROW)
        with_row = np.flatnonzero(self.rows != NO_ROW)[::-1]  # so that the first of equal images is written last
        images[self.rows[with_row]] = with_row
        return images

    def to_bytes(self) -> memoryview:
        """Return the bytes of the index file; the same index gives the same bytes."""
        ids = Ids.pack(self.images.ids)
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file["classes"] = _bytes(json.dumps(self.images.classes).encode())
            file["skipped"] = _bytes(json.dumps(self.images.skipped).encode())
            file["images/id_bytes"] = _bytes(ids.data)
            file["images/id_ends"] = ids.bounds[1:]
            for name in COLUMNS:
                file[f"images/{name}"] = getattr(self.images, name)
            file["images/rows"] = self.rows
            file["contents"], file["ranges"] = self.contents, self.ranges
        return buffer.getbuffer()


def read_index(data: bytes, root: Path, source: Path) -> Index:
    """Read an index from the bytes of `Index.to_bytes`, which are not trusted; messages name the file `source`."""
    try:
        check_hdf5_structure(io.BytesIO(data))
        with h5py.File(io.BytesIO(data), "r") as file:
            index = _read(file, root)
        if not _is_consistent(index):
            raise ValueError("its columns do not fit one another")
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise StoreDamaged(f"{source} is not the index of a store ({error}); {REMEDY}") from None
    return index


def _read(file: h5py.File, root: Path) -> Index:
    group = file["images"]
    column: dict[str, np.ndarray] = {name: group[name][:] for name in (*COLUMNS, "rows") if name in group}
    if "groups" not in column:  # older versions wrote none
        column["groups"] = np.full(len(column["rows"]), NO_GROUP, np.int32)
    id_bytes, bounds = group["id_bytes"][:], np.append(0, group["id_ends"][:])
    if bounds.dtype != np.int64 or (np.diff(bounds) < 0).any() or bounds[-1] != len(id_bytes):
        raise ValueError("its ids do not fit their bounds")
    classes, skipped = (json.loads(file[name][:].tobytes()) for name in ("classes", "skipped"))
    images = ImageTable(
        root=root,
        ids=Ids(id_bytes.tobytes(), bounds),
        classes=tuple(classes),
        skipped=[Skipped(*pair) for pair in skipped],
        **{name: column[name] for name in COLUMNS},
    )
    return Index(images, column["rows"], file["contents"][:], file["ranges"][:])


def _is_consistent(index: Index) -> bool:
    """Whether columns are of one length and every number points inside the index, whoever wrote it."""
    images, m = index.images, len(index.contents)
    columns = [index.rows, *(getattr(images, name) for name in COLUMNS)]
    starts, stops = index.ranges.reshape(-1, 2).T
    return bool(
        all(len(column) == len(images) and column.dtype.kind in "biu" for column in columns)
        and index.ranges.dtype.kind == "i"
        and index.ranges.shape[1:] == (2,)
        and images.contents.shape[1:] == index.contents.shape[1:] == (32,)
        and images.contents.dtype == index.contents.dtype == np.uint8
        and ((index.rows >= NO_ROW) & (index.rows < m)).all()
        and ((images.labels >= -1) & (images.labels < len(images.classes))).all()
        and ((images.split_codes >= 0) & (images.split_codes < len(SPLITS))).all()
        and (starts < stops).all()
        and [*starts, m] == [0, *stops]
    )


def _bytes(data: bytes | bytearray) -> np.ndarray:
    return np.frombuffer(data, np.uint8)
