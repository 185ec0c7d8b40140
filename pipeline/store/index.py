"""The index of a store: its images, and which row of the shards holds each one's features.

Rows of the shards belong to contents, not to files: two equal files share a row, and a renamed
or relabelled file keeps its own.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import StoreDamaged
from pipeline.files.structure import check_hdf5_structure
from pipeline.images.table import COLUMNS, NO_GROUP, SPLITS, ImageTable, Skipped

NO_ROW = -1
LOST = "which rows are whose is lost: restore it from a copy, or start over with `features IMAGES --rebuild`"


@dataclass(frozen=True)
class Index:
    """Images and rows.

    Attributes
    ----------
    images : ImageTable
        n images.
    rows : ndarray of shape (n,), int64
        The row of each image; `NO_ROW` where the file could not be read.
    contents : ndarray of shape (m, 32), uint8
        The sha256 of the image of each row.
    ranges : ndarray of shape (shards, 2), int64
        First row and one past the last row of each shard, finished or not; they cover 0 to m.
    """

    images: ImageTable
    rows: np.ndarray
    contents: np.ndarray
    ranges: np.ndarray

    def to_bytes(self) -> memoryview:
        """The bytes of the index file; the same index gives the same bytes."""
        ids = [id.encode("utf-8", "surrogateescape") for id in self.images.ids]
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file["classes"] = _bytes(json.dumps(self.images.classes).encode())
            file["skipped"] = _bytes(json.dumps(self.images.skipped).encode())
            file["images/id_bytes"] = _bytes(b"".join(ids))
            file["images/id_ends"] = np.cumsum([len(id) for id in ids], dtype=np.int64)
            for name in COLUMNS:
                file[f"images/{name}"] = getattr(self.images, name)
            file["images/rows"] = self.rows
            file["contents"], file["ranges"] = self.contents, self.ranges
        return buffer.getbuffer()


def empty_index(images: ImageTable) -> Index:
    """An index in which no image has a row yet."""
    none = np.full(len(images), NO_ROW, np.int64)
    return Index(images, none, np.empty((0, 32), np.uint8), np.empty((0, 2), np.int64))


def read_index(data: bytes, root: Path, source: Path) -> Index:
    """Read what `Index.to_bytes` made; the caller has checked the bytes' sha256.

    Parameters
    ----------
    data : bytes
    root : Path
        The folder that ids are relative to.
    source : Path
        Where the bytes came from, for messages.

    Raises
    ------
    StoreDamaged
        It is no index, or a hostile one.
    """
    try:
        check_hdf5_structure(io.BytesIO(data))
        with h5py.File(io.BytesIO(data), "r") as file:
            index = _read(file, root)
        problem = "" if _is_consistent(index) else "its columns do not fit one another"
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        problem = str(error)
    if problem:
        raise StoreDamaged(f"{source} is not the index of a store ({problem}); {LOST}")
    return index


def _read(file: h5py.File, root: Path) -> Index:
    held = file["images"]
    column: dict[str, np.ndarray] = {name: held[name][:] for name in (*COLUMNS, "rows") if name in held}
    if "groups" not in column:  # of an older version
        column["groups"] = np.full(len(column["rows"]), NO_GROUP, np.int32)
    id_bytes, ends = held["id_bytes"][:].tobytes(), held["id_ends"][:].tolist()
    classes, skipped = (json.loads(file[name][:].tobytes()) for name in ("classes", "skipped"))
    images = ImageTable(
        root=root,
        ids=[id_bytes[start:end].decode("utf-8", "surrogateescape") for start, end in pairwise([0, *ends])],
        classes=tuple(classes),
        skipped=[Skipped(*pair) for pair in skipped],
        **{name: column[name] for name in COLUMNS},
    )
    return Index(images, column["rows"], file["contents"][:], file["ranges"][:])


def _is_consistent(index: Index) -> bool:
    """Whether no number of a stranger's index points outside the index."""
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


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)
