"""The file of one shard: a fixed range of rows in HDF5, never changed once it has its name.

`build_shard` makes the bytes of a shard; the same rows give the same bytes. `Shard` checks and reads
a file, which holds

    features  (rows, ...)  float16 or float32; zeros where the status is not OK
    status    (rows,)      uint8, see `pipeline.images.status.Status`
    crc32     (rows,)      uint32, of the bytes of each row
    ids       (rows, 32)   uint8, the sha256 of each image file

and the attributes `format`, `start`, `stop` and `fingerprint`. `features` is contiguous unless it is
compressed, so that any reader can memory-map it.
"""

import contextlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.errors import StoreDamaged
from pipeline.files.durable import sha256_of_file
from pipeline.files.file_structure import check_hdf5_structure
from pipeline.images.status import Status
from pipeline.store.manifest import Manifest
from pipeline.text import COMMAND

FORMAT = 1
MAX_MAPPED = 10_000  # shards of a store that stay memory-mapped; Linux allows a process 65,530 maps
MAX_EXPANSION = 1032  # times the size of the file: the most that gzip can do, which it does with equal rows


class ShardDamaged(StoreDamaged):
    """A shard is missing, is not what was written, or is another shard; `problem` is a predicate: "is missing"."""

    def __init__(self, path: Path, problem: str):
        super().__init__(f"{path} {problem}; run `{COMMAND} repair {path.parent.parent}`")
        self.path, self.problem = path, problem

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:  # workers of a cluster send it
        return type(self), (self.path, self.problem)


@dataclass(frozen=True)
class ShardContent:
    """Rows `start` to `stop` of a store."""

    start: int
    features: np.ndarray  # (rows, ...), float16 or float32
    status: np.ndarray  # (rows,), uint8
    ids: np.ndarray  # (rows, 32), uint8

    @property
    def stop(self) -> int:
        """One past the last row."""
        return self.start + len(self.features)


def build_shard(content: ShardContent, fingerprint: str, compression: str | None = None) -> memoryview:
    """Return the bytes of a shard's file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(format=FORMAT, start=content.start, stop=content.stop, fingerprint=fingerprint)
        chunks = (1, *content.features.shape[1:]) if compression else None
        file.create_dataset("features", data=content.features, chunks=chunks, compression=compression)
        file.create_dataset("status", data=content.status)
        file.create_dataset("crc32", data=row_crc32(content.features))
        file.create_dataset("ids", data=content.ids)
    return buffer.getbuffer()


def row_crc32(features: np.ndarray) -> np.ndarray:
    """Return the crc32 of the bytes of each row, ndarray of shape (rows,), uint32."""
    rows = np.ascontiguousarray(features)
    return np.fromiter((zlib.crc32(row.data) for row in rows), np.uint32, len(rows))


class Shard:
    """A shard that was checked when it was opened; every method raises ShardDamaged if the file is at fault.

    It must have the fingerprint, shape of rows and dtype of the manifest, and hold the images of `ids`,
    sha256 as (rows, 32) uint8, from row `start` on. The sha256 of the file covers every row; without it,
    no row is checked until `check_rows` is called.
    """

    def __init__(self, path: Path, manifest: Manifest, start: int, ids: np.ndarray, *, sha256: str | None):
        self.path, self.dtype, self.shape = path, manifest.dtype, (len(ids), *manifest.feature_shape)
        self.stays_mapped = len(manifest.shards) <= MAX_MAPPED
        self._mapped: np.ndarray | None = None
        stop = start + len(ids)
        with self._errors_as_damage():
            self._state = _file_state(path)
            if sha256 is not None and sha256_of_file(path) != sha256:
                raise ShardDamaged(path, "is not what was written (its sha256 differs)")
            check_hdf5_structure(path, max_expansion=MAX_EXPANSION)
            with h5py.File(path, "r", locking=False) as file:
                self._check_attributes(file, format=FORMAT, start=start, stop=stop, fingerprint=manifest.fingerprint)
                self.status = self._dataset(file, "status", (len(ids),), np.uint8)[:]
                self.crc32 = self._dataset(file, "crc32", (len(ids),), np.uint32)[:]
                stored_ids = self._dataset(file, "ids", (len(ids), 32), np.uint8)[:]
                features = self._dataset(file, "features", self.shape, self.dtype)
                self.offset = features.id.get_offset() if features.chunks is None else None
        if not np.array_equal(stored_ids, ids):
            raise ShardDamaged(path, "holds other images than the index says")
        if not np.isin(self.status, list(Status)).all():
            raise ShardDamaged(path, "has a row of unknown status")

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read some rows, (n,) int, counted from the first of the shard, ndarray of shape (n, *feature_shape).

        Of a compressed shard, these rows alone are decompressed.
        """
        with self._errors_as_damage():
            if _file_state(self.path) != self._state:
                raise ShardDamaged(self.path, "was changed after it was checked")
            if self.offset is not None:
                is_run = len(rows) and (np.diff(rows) == 1).all()
                return self._map()[rows[0] : rows[-1] + 1] if is_run else self._map()[rows]
            needed, inverse = np.unique(rows, return_inverse=True)
            runs = np.split(needed, np.flatnonzero(np.diff(needed) > 1) + 1)
            with h5py.File(
                self.path, "r", locking=False
            ) as file:  # h5py reads runs four times as fast as a list of rows
                return np.concatenate([file["features"][run[0] : run[-1] + 1] for run in runs])[inverse]

    def _map(self) -> np.ndarray:
        if self._mapped is not None:
            return self._mapped
        mapped = np.memmap(self.path, self.dtype, mode="r", offset=self.offset or 0, shape=self.shape)
        self._mapped = mapped if self.stays_mapped else None
        return mapped

    def check_rows(self) -> None:
        """Check every row: its crc32, and that it is finite where its status is OK, and zero elsewhere."""
        features = self.read(np.arange(len(self.status)))
        different = np.flatnonzero(row_crc32(features) != self.crc32)
        if len(different):
            raise ShardDamaged(self.path, f"is damaged: row {different[0]} is not what was written (its crc32 differs)")
        for row, (values, status) in enumerate(zip(features, self.status, strict=True)):
            if status == Status.OK and not np.isfinite(values).all():
                raise ShardDamaged(self.path, f"is wrong: row {row} is marked OK and is not finite")
            if status != Status.OK and values.any():
                raise ShardDamaged(self.path, f"is wrong: row {row} has features and is marked {Status(status).words}")

    @contextlib.contextmanager
    def _errors_as_damage(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise ShardDamaged(self.path, "is missing") from None
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:  # h5py raises these over damage
            raise ShardDamaged(self.path, f"cannot be read ({error})") from None

    def _check_attributes(self, file: h5py.File, **expected: int | str) -> None:
        for name, value in expected.items():
            stored = file.attrs.get(name)
            stored = stored.item() if isinstance(stored, np.generic) else stored
            if not isinstance(stored, type(value)) or stored != value:
                raise ShardDamaged(self.path, f"is another shard: its {name} is {stored}, not {value}")

    def _dataset(self, file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
        dataset = file.get(name)
        if not isinstance(dataset, h5py.Dataset) or dataset.shape != shape or dataset.dtype != dtype:
            stored = f"{dataset.dtype} {dataset.shape}" if isinstance(dataset, h5py.Dataset) else "missing"
            raise ShardDamaged(self.path, f"is no shard: {name} is {stored}, not {np.dtype(dtype)} {shape}")
        return dataset


def _file_state(path: Path) -> tuple[int, ...]:
    """Return what differs after a file was changed, unless the change is hidden on purpose."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
