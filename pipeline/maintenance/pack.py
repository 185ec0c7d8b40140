"""Write all features of a store to one HDF5 file that any HDF5 reader opens.

The file holds, for the n images with features, in the order of the index

    features  (n, ...)  float16 or float32, contiguous
    labels    (n,)      int32, indices into `classes`; -1 for an image without a label
    ids       (n,)      strings of variable length, UTF-8
    splits    (n,)      strings: train, validation or test
    classes   (k,)      strings of variable length, UTF-8

and the attributes `format`, `spec` and `made_with` (JSON), `fingerprint` and `random_weights`.
An id that is not UTF-8 keeps its bytes: `file["ids"].asstr(errors="surrogateescape")` gives the
names as Python has them.
"""

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.errors import StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.check_untrusted import check_untrusted_hdf5
from pipeline.files.durable import canonical_json, is_replaceable, open_durably
from pipeline.store import FeatureStore, open_features
from pipeline.text import COMMAND

FORMAT = 1
MAX_BYTES = 64 << 20  # of features in memory


def pack_store(directory: str | Path, file: str | Path, *, callbacks: Callbacks = SILENT) -> int:
    """Write all images with features to one HDF5 file, completely or not at all.

    Parameters
    ----------
    directory : path
        The directory of the store.
    file : path
        The file to write, outside the store; a packed store of this name is replaced in one step.
    callbacks : Callbacks, optional

    Returns
    -------
    int
        Number of images in the file.

    Raises
    ------
    StoreError
        There is no store, no image has features, or the file cannot be written at this path.
    StoreDamaged
        A row is not what was written; `file` is unchanged.
    OSError
        A full disk or an I/O error; `file` is unchanged.
    """
    store, path = open_features(directory), Path(file)
    members = store.members()
    _check_path(store, path)
    if not len(members):
        raise StoreError(f"{store.directory}: no image has features yet; run `{COMMAND} features` first")
    with open_durably(path) as raw:
        sink = _Sink(raw, path)
        try:
            with h5py.File(sink, "w") as packed:
                _write_metadata(packed, store, members)
                _write_features(packed, store, members, sink, callbacks)
        except (OSError, RuntimeError, ValueError, KeyError):
            sink.check()  # a failed write is the reason, whatever error HDF5 made of it
            raise
        sink.check()
    return len(members)


class _Sink:
    """A file for HDF5 to write to, which reports no failed write to HDF5.

    HDF5 does not survive a write that fails: its caches stay dirty and the process may crash at
    exit. So every write seems to succeed, what could not be written is kept in memory for HDF5 to
    read again, and `check` raises the first error.
    """

    def __init__(self, file: io.FileIO, path: Path):
        self._file, self._path = file, path
        self._error: OSError | None = None
        self._unwritten: list[tuple[int, bytes]] = []  # positions and data

    def __getattr__(self, name: str) -> Any:  # seeking
        return getattr(self._file, name)

    def write(self, data: Any) -> int:
        """Write all of `data` to the file, or to memory after the first error."""
        position, left = self._file.tell(), memoryview(data)
        try:
            while left and self._error is None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._error = error
        if left:
            self._unwritten.append((position, bytes(data)))
            self._file.seek(position + len(data))
        return len(data)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what was written at this position, and with zeros where nothing was."""
        view, position = memoryview(buffer), self._file.tell()
        size = self._file.readinto(view)
        view[size:] = bytes(len(view) - size)
        for start, data in self._unwritten:
            first, last = max(start, position), min(start + len(data), position + len(view))
            if first < last:
                view[first - position : last - position] = data[first - start : last - start]
        self._file.seek(position + len(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Change the size of the file."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def check(self) -> None:
        """Raise the first error of a write, with the path of the packed file."""
        if self._error is not None:
            raise OSError(self._error.errno, self._error.strerror, str(self._path)) from None


def _check_path(store: FeatureStore, path: Path) -> None:
    if store.directory.resolve() in path.resolve().parents:
        raise StoreError(f"{path} is inside the store {store.directory}; give a file outside it")
    if path.is_dir():
        raise StoreError(f"{path} is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent} is not a directory; make it first, or give another path for {path.name}")
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


def _write_metadata(packed: h5py.File, store: FeatureStore, members: np.ndarray) -> None:
    packed.attrs["format"] = FORMAT
    packed.attrs["spec"] = canonical_json(store.manifest.spec)
    packed.attrs["made_with"] = json.dumps(store.manifest.made_with, sort_keys=True)
    packed.attrs["fingerprint"] = store.fingerprint
    packed.attrs["random_weights"] = store.random_weights
    images, text = store.images, h5py.string_dtype()
    packed["labels"] = images.labels[members].astype(np.int32)
    packed["splits"] = images.splits[members].astype("S")
    for name, strings in (("ids", store.ids()), ("classes", images.classes)):
        packed.create_dataset(name, data=[s.encode("utf-8", "surrogateescape") for s in strings], dtype=text)


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
