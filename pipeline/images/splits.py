"""Which split an image belongs to: a pure function of what the image holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.errors import ImagesError
from pipeline.images.table import SPLITS


def assign_splits(
    contents: Sequence[bytes],
    groups: Sequence[str | None],
    given: Sequence[str | None],
    *,
    validation: float,
    test: float,
) -> np.ndarray:
    """Split codes, ndarray of shape (n,), int8.

    An image without a given split gets one from a hash of its content, the same share of every
    class on average; so another image never moves it. Images of one content or one group share
    a hash, and follow a member whose split is given. Where every split is given but there is no
    validation (or test) image, those are drawn from the train images.

    Raises
    ------
    ImagesError
        Fractions that leave nothing to train on.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ImagesError(f"validation {validation} and test {test} must be fractions that leave some images to train")
    named = set(given)
    validation = 0.0 if "validation" in named else validation
    test = 0.0 if "test" in named else test
    if None not in named and (validation or test):
        given = [None if split == "train" else split for split in given]
    keys = _linked(contents, groups)
    fixed = {key: split for key, split in zip(keys, given, strict=True) if split is not None}
    splits = [split or fixed.get(key) or _drawn(key, validation, test) for key, split in zip(keys, given, strict=True)]
    return np.array([SPLITS.index(split) for split in splits], np.int8)


def _drawn(key: bytes, validation: float, test: float) -> str:
    position = int.from_bytes(hashlib.sha256(b"split" + key).digest()[:8], "big") / 2**64  # in [0, 1)
    if position < validation:
        return "validation"
    return "test" if position >= 1 - test else "train"


def _linked(contents: Sequence[bytes], groups: Sequence[str | None]) -> list[bytes]:
    """One key for all images that are tied together by content or group (union-find)."""
    if not any(groups):
        return list(contents)
    parent: dict[bytes, bytes] = {}

    def root(key: bytes) -> bytes:
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = parent[above]
            key = above
        return key

    names = [b"group " + group.encode(errors="surrogateescape") if group else b"" for group in groups]
    for content, name in zip(contents, names, strict=True):
        if name:
            one, other = sorted((root(content), root(name)), key=lambda key: (not key.startswith(b"group "), key))
            parent[other] = one
    return [root(content) for content in contents]
