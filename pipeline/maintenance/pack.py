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
    metadata, start = _make_metadata(store, members)
    try:
        with open_durably(path) as packed:
            packed.write(metadata[:start])
            step = max(1, MAX_BYTES // store.bytes_per_row)
            for first in range(0, len(members), step):
                part = members[first : first + step]
                packed.write(store.read_rows(store.index.rows[part]).data)
                callbacks.progress("packing", first + len(part), len(members), "images")
            packed.write(metadata[start + len(members) * store.bytes_per_row :])
    except OSError as error:  # a failed write, which does not name its file
        raise OSError(error.errno, error.strerror, str(path)) from None
    return len(members)


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
        with h5py.File(path, "r", locking=False) as packed:
            return "fingerprint" in packed.attrs
    except (OSError, ValueError):
        return not path.stat().st_size


def _make_metadata(store: FeatureStore, members: np.ndarray) -> tuple[memoryview, int]:
    """Make the file without its features; return its bytes and the position of the features in it.

    HDF5 writes to memory only, as it does not survive a write that fails: the process may crash at exit.
    """
    file, images, text = io.BytesIO(), store.images, h5py.string_dtype()
    with h5py.File(file, "w") as packed:
        packed.attrs["format"] = FORMAT
        packed.attrs["spec"] = canonical_json(store.manifest.spec)
        packed.attrs["made_with"] = json.dumps(store.manifest.made_with, sort_keys=True)
        packed.attrs["fingerprint"] = store.fingerprint
        packed.attrs["random_weights"] = store.random_weights
        packed["labels"] = images.labels[members].astype(np.int32)
        packed["splits"] = images.splits[members].astype("S")
        for name, strings in (("ids", store.ids()), ("classes", images.classes)):
            packed.create_dataset(name, data=[s.encode("utf-8", "surrogateescape") for s in strings], dtype=text)
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # gives the features their place in the file
        shape = (len(members), *store.feature_shape)
        features = packed.create_dataset("features", shape, store.dtype, dcpl=early, fill_time="never")
        start = features.id.get_offset()
    return file.getbuffer(), start
