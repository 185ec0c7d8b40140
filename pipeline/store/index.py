"""The index of a store: its images, and which row of the shards holds each one's features.

Rows of the shards belong to contents, not to files: two equal files share a row, and a renamed
or relabelled file keeps its own.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import StoreDamaged
from pipeline.table import COLUMNS, ImageTable, Skipped

NO_ROW = -1


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


def read_index(data: bytes, root: Path) -> Index:
    """Read what `Index.to_bytes` made; the caller has checked the bytes' sha256.

    Raises
    ------
    StoreDamaged
        It is no index.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            column: Mapping[str, np.ndarray] = {name: file[f"images/{name}"][:] for name in (*COLUMNS, "rows")}
            id_bytes, ends = file["images/id_bytes"][:].tobytes(), file["images/id_ends"][:].tolist()
            classes, skipped = (json.loads(file[name][:].tobytes()) for name in ("classes", "skipped"))
            contents, ranges = file["contents"][:], file["ranges"][:]
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise StoreDamaged(f"the index of the store is unreadable ({error}); start over with --rebuild") from None
    ids = [id_bytes[start:end].decode("utf-8", "surrogateescape") for start, end in zip([0, *ends], ends, strict=False)]
    images = ImageTable(
        root=root,
        ids=ids,
        classes=tuple(classes),
        skipped=[Skipped(*pair) for pair in skipped],
        **{name: column[name] for name in COLUMNS},
    )
    return Index(images, column["rows"], contents, ranges)


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)
