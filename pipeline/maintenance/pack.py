"""All features of a store as one HDF5 file to hand on.

The file holds, for the n images with features, in the order of the index

    features  (n, ...)  float16 or float32, contiguous
    labels    (n,)      int32, indices into `classes`; -1 where there is no label
    ids       (n,)      strings of variable length, UTF-8
    splits    (n,)      strings: train, validation or test
    classes   (k,)      strings of variable length, UTF-8

and the attributes `format`, `spec` and `made_with` (JSON), `fingerprint` and `random_weights`.
An id that is not UTF-8 keeps its bytes: `file["ids"].asstr(errors="surrogateescape")` gives the
names as Python has them.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.errors import StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.durable import canonical_json, is_replaceable, open_durably
from pipeline.files.untrusted import check_untrusted_hdf5
from pipeline.store import FeatureStore, open_features

FORMAT = 1
MAX_BYTES = 64 << 20  # of features in memory


def pack_store(directory: str | Path, file: str | Path, *, callbacks: Callbacks = SILENT) -> int:
    """Write all images with features to one HDF5 file, whole or not at all.

    Parameters
    ----------
    directory : path
        The store.
    file : path
        Outside the store; replaced in one step if it exists.
    callbacks : Callbacks, optional

    Returns
    -------
    int
        How many images were packed.

    Raises
    ------
    StoreError
        There is no store, no image has features, or the file cannot be where it is asked for.
    StoreDamaged
        A row is not what was written; `file` is as it was.
    OSError
        A full disk or an I/O error; `file` is as it was.
    """
    store, path = open_features(directory), Path(file)
    members = store.members()
    _check_place(store, path)
    if not len(members):
        raise StoreError(f"{store.directory}: no image has features yet; run `python -m pipeline features` first")
    with open_durably(path) as raw:
        sink = _Sink(raw, path)
        try:
            with h5py.File(sink, "w") as packed:
                _describe(packed, store)
                _write_images(packed, store, members)
                _write_features(packed, store, members, sink, callbacks)
        except (OSError, RuntimeError, ValueError, KeyError):
            sink.check()  # whatever HDF5 made of a write that failed, that one is the reason
            raise
        sink.check()
    return len(members)


class _Sink(io.RawIOBase):
    """A file for HDF5 to write to, which keeps the first error to itself.

    HDF5 does not survive a write that fails: its caches stay dirty and the process may crash at
    exit. So it is told that all is well, and the error is raised by `check`.
    """

    def __init__(self, file: io.FileIO, path: Path):
        self._file, self._path = file, path
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            left = memoryview(data)
            while left and self._error is None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def readinto(self, out: Any) -> int:
        return self._file.readinto(out)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def check(self) -> None:
        """Raise the error that a write met, naming the file it was for."""
        if self._error is not None:
            raise OSError(self._error.errno, self._error.strerror, str(self._path)) from None


def _check_place(store: FeatureStore, path: Path) -> None:
    if store.directory.resolve() in path.resolve().parents:
        raise StoreError(f"{path} is inside the store {store.directory}; give a file outside it")
    if path.is_dir():
        raise StoreError(f"{path} is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent} is no directory to put {path.name} into; make it first")
    if path.exists() and not _is_packed(path):
        raise StoreError(f"{path} exists and is no packed store; give another name, or remove it")


def _is_packed(path: Path) -> bool:
    if not is_replaceable(path, rb"\x89HDF"):
        return False
    try:
        check_untrusted_hdf5(path)
        with h5py.File(path, "r") as packed:
            return "fingerprint" in packed.attrs
    except (OSError, ValueError):
        return not path.stat().st_size


def _describe(packed: h5py.File, store: FeatureStore) -> None:
    packed.attrs["format"] = FORMAT
    packed.attrs["spec"] = canonical_json(store.manifest.spec)
    packed.attrs["made_with"] = json.dumps(store.manifest.made_with, sort_keys=True)
    packed.attrs["fingerprint"] = store.fingerprint
    packed.attrs["random_weights"] = store.random_weights


def _write_images(packed: h5py.File, store: FeatureStore, members: np.ndarray) -> None:
    images, text = store.images, h5py.string_dtype()
    packed["labels"] = images.labels[members].astype(np.int32)
    packed["splits"] = images.splits[members].astype("S")
    packed.create_dataset("ids", data=[_bytes(images.ids[member]) for member in members.tolist()], dtype=text)
    packed.create_dataset("classes", data=[_bytes(name) for name in images.classes], dtype=text)


def _write_features(
    packed: h5py.File, store: FeatureStore, members: np.ndarray, sink: _Sink, callbacks: Callbacks
) -> None:
    shape = (len(members), *store.feature_shape)
    features = packed.create_dataset("features", shape, store.dtype, fill_time="never")
    step = max(1, MAX_BYTES // store.bytes_per_row)
    for start in range(0, len(members), step):
        part = members[start : start + step]
        features[start : start + len(part)] = store.read_rows(store.index.rows[part])
        sink.check()
        callbacks.progress("packing", start + len(part), len(members), "images")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
