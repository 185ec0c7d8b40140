"""Which images a conv base was trained on: a list in its `.keras` file, and the images of a store that are in it."""

import zipfile
from pathlib import Path

import numpy as np

from pipeline.files.durable import sha256_of_file
from pipeline.store import FeatureStore

MEMBER = "train_images.sha256"  # of the `.keras` file; Keras does not read it
KEY = ">u8"  # the first 8 bytes of a sha256, which tell apart the images of any data set


def add_train_images(file: Path, contents: np.ndarray, earlier: np.ndarray | None = None) -> None:
    """Add to a `.keras` file which images, (n, 32) uint8 sha256, it was trained on: 8 bytes for each.

    `earlier` are those of the file that it was trained from, as `read_train_images` returns them.
    """
    keys = _keys(contents) if earlier is None else np.concatenate([_keys(contents), earlier])
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(MEMBER, np.unique(keys).tobytes())


def read_train_images(file: Path) -> np.ndarray:
    """Return the sorted keys, (n,) uint64, of the images that a `.keras` file names; empty if it names none.

    The file is not trusted; a list that cannot be read is none.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            member = archive.getinfo(MEMBER)
            if member.compress_type != zipfile.ZIP_STORED:  # as it was written; other lists may unpack without end
                raise zipfile.BadZipFile
            return np.frombuffer(archive.read(member), KEY)
    except (KeyError, ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile):
        return np.zeros(0, KEY)


def scored_train_images(store: FeatureStore, split: str) -> list[str]:
    """Return the ids of the images of a split with features that a conv base of the store was trained on.

    Conv bases whose file is no longer where it was, or is another one now, are left out.
    """
    members = store.members(split)
    is_known = np.zeros(len(members), bool)
    for part in store.parts:
        spec = part.conv_base_spec
        file = Path(spec.conv_base)
        if spec.kind != "file" or not file.is_file():
            continue
        known = read_train_images(file)
        if len(known) and sha256_of_file(file) == spec.conv_base_sha256:
            is_known |= np.isin(_keys(store.images.contents[members]), known)
    return [store.images.ids[i] for i in members[is_known].tolist()]


def _keys(contents: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(contents[:, :8]).view(KEY).reshape(-1)
