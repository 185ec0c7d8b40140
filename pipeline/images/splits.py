"""The split of each image: a pure function of the image's content."""

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.errors import ImagesError
from pipeline.images.table import SPLITS


def assign_splits(
    contents: Sequence[bytes], groups: Sequence[str | None], given: Sequence[str | None], validation: float, test: float
) -> np.ndarray:
    """Assign a split to each image; return indices into `SPLITS`, ndarray of shape (n,), int8.

    The split of an image is given, or drawn from a hash of its content, the same share of every class
    on average. So adding other images never changes it. Images with the same content or group share a
    hash; if the split of one of them is given, the others get the same split. Where all splits are given
    but no image is in validation (or test), images for it are drawn from train. `contents` are the sha256 of
    the images, `given` the splits that folders or a CSV file give, `validation` and `test` fractions of the images.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ImagesError(f"validation {validation} and test {test} must be fractions that leave some images to train")
    given_splits = set(given)
    validation = 0.0 if "validation" in given_splits else validation
    test = 0.0 if "test" in given_splits else test
    if None not in given_splits and (validation or test):
        given = [None if split == "train" else split for split in given]
    keys = _shared_keys(contents, groups)
    fixed = {key: split for key, split in zip(keys, given, strict=True) if split is not None}
    splits = (
        split or fixed.get(key) or _draw_split(key, validation, test) for key, split in zip(keys, given, strict=True)
    )
    return np.array([SPLITS.index(split) for split in splits], np.int8)


def _draw_split(key: bytes, validation: float, test: float) -> str:
    position = int.from_bytes(hashlib.sha256(b"split" + key).digest()[:8], "big") / 2**64  # in [0, 1)
    if position < validation:
        return "validation"
    return "test" if position >= 1 - test else "train"


def _shared_keys(contents: Sequence[bytes], groups: Sequence[str | None]) -> list[bytes]:
    """Return a key per image, the same for all images that contents and groups connect (union-find)."""
    if not any(groups):
        return list(contents)
    parent: dict[bytes, bytes] = {}

    def root(key: bytes) -> bytes:
        while (up := parent.setdefault(key, key)) != key:
            parent[key] = parent[up]
            key = up
        return key

    names = [b"group " + group.encode(errors="surrogateescape") if group else b"" for group in groups]
    for content, name in zip(contents, names, strict=True):
        if name:
            upper, lower = sorted((root(content), root(name)), key=lambda key: (not key.startswith(b"group "), key))
            parent[lower] = upper
    return [root(content) for content in contents]
