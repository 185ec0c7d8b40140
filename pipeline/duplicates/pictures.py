"""Are two images the same picture? Their small grey versions say it, mirrored or not."""

from __future__ import annotations

import contextlib
import os
from typing import IO

import numpy as np

from pipeline.extraction.decode_ahead import decode_ahead, list_tasks
from pipeline.store import FeatureStore

SIDE = 32  # pixels
FLAT = 1.0  # grey levels; below this standard deviation there is nothing to compare
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as JPEG
UNREAD, THERE, GONE = range(3)


class Pictures:
    """Small grey pictures of images, each read when it is first asked for.

    Parameters
    ----------
    store : FeatureStore
    rows : ndarray of shape (n,), int64
        Rows of the shards, one an image.
    file : binary file
        An empty one to keep the pictures in, 1 KiB each.
    """

    def __init__(self, store: FeatureStore, rows: np.ndarray, file: IO[bytes]):
        self._store, self._rows, self._file = store, rows, file
        self._state = np.full(len(rows), UNREAD, np.uint8)
        file.truncate(len(rows) * SIDE * SIDE)

    def correlations(self, pairs: np.ndarray) -> np.ndarray:
        """How alike the pictures of pairs are, from -1 to 1.

        Parameters
        ----------
        pairs : ndarray of shape (p, 2), int64
            Places in `rows`. Memory grows with the square of the different ones.

        Returns
        -------
        ndarray of shape (p,), float32
            Pearson's correlation of the grey values, which brightness and contrast do not change;
            the larger one of the picture as it is and mirrored. 0 where a picture is all of one grey;
            NaN where an image is gone, or is no longer the one in the index.
        """
        (firsts, at_first), (seconds, at_second) = (np.unique(side, return_inverse=True) for side in pairs.T)
        self._read(np.union1d(firsts, seconds))
        one, other = self._standardised(firsts), self._standardised(seconds)
        alike = np.maximum(_products(one, other), _products(one, other[:, :, ::-1]))
        there = (self._state[pairs] == THERE).all(axis=1)
        return np.where(there, alike[at_first, at_second], np.float32(np.nan))

    def _read(self, places: np.ndarray) -> None:
        unread = places[self._state[places] == UNREAD]
        rows = self._rows[unread]
        tasks = list_tasks(self._store.index, np.stack([rows, rows + 1], axis=1))
        workers = os.cpu_count() or 1
        with contextlib.closing(decode_ahead(tasks, (SIDE, SIDE), "antialias", workers=workers, ahead=64)) as decoded:
            for place, one in zip(unread.tolist(), decoded, strict=True):
                self._state[place] = GONE if one.pixels is None else THERE
                if one.pixels is not None:  # not through a memory map: a full disk would kill the process
                    self._file.seek(place * SIDE * SIDE)
                    self._file.write(np.rint(one.pixels @ GREY).astype(np.uint8).tobytes())
        self._file.flush()

    def _standardised(self, places: np.ndarray) -> np.ndarray:
        """Pictures (p, SIDE, SIDE) at mean 0 and length 1, float32; zeros of a flat one."""
        pictures = np.memmap(self._file, np.uint8, "r", shape=(len(self._rows), SIDE, SIDE))[places]
        grey = pictures - pictures.mean(axis=(1, 2), dtype=np.float32, keepdims=True)
        length = np.linalg.norm(grey, axis=(1, 2), keepdims=True)
        return np.where(length >= FLAT * SIDE, grey / np.maximum(length, FLAT), 0)


def _products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(p, SIDE, SIDE) and (q, SIDE, SIDE) -> (p, q)."""
    return one.reshape(len(one), -1) @ other.reshape(len(other), -1).T
