"""Whether two images show the same picture: their small grey versions are compared, also mirrored."""

import contextlib
from functools import partial
from typing import IO

import numpy as np

from pipeline.extraction.decode_ahead import decode_ahead, list_tasks
from pipeline.images.decode import decode_image
from pipeline.store import FeatureStore

SIDE = 32  # pixels
MIN_DEVIATION = 1.0  # grey levels; a picture with a smaller standard deviation has nothing to compare
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG
UNREAD, READ, UNREADABLE = range(3)


class GreyPictures:
    """Small grey pictures of the images of n rows, each read when it is first needed and stored in an empty file."""

    def __init__(self, store: FeatureStore, rows: np.ndarray, file: IO[bytes]):
        self._store, self._rows, self._file = store, rows, file
        self._state = np.full(len(rows), UNREAD, np.uint8)
        file.truncate(len(rows) * SIDE * SIDE)

    def correlations(self, pairs: np.ndarray) -> np.ndarray:
        """Return Pearson's correlations (p,) of the grey values of pairs (p, 2) of pictures, indices into `rows`.

        Brightness and contrast do not change them. A correlation is the larger one of the picture as it
        is and mirrored: 0 where a picture has one grey value only, NaN where an image cannot be read, or is no
        longer the one in the index. Memory grows with the square of the number of different pictures.
        """
        (firsts, first_index), (seconds, second_index) = (np.unique(side, return_inverse=True) for side in pairs.T)
        self._read(np.union1d(firsts, seconds))
        a, b = self._standardised(firsts), self._standardised(seconds)
        mirrored = b.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(b.shape)
        correlations = np.maximum(a @ b.T, a @ mirrored.T)
        readable = (self._state[pairs] == READ).all(axis=1)
        return np.where(readable, correlations[first_index, second_index], np.float32(np.nan))

    def _read(self, pictures: np.ndarray) -> None:
        """Read those of the pictures that have not been read, given by their indices."""
        unread = pictures[self._state[pictures] == UNREAD]
        rows = self._rows[unread]
        tasks = list_tasks(self._store.index, np.stack([rows, rows + 1], axis=1))
        decode = partial(decode_image, size=(SIDE, SIDE), resize="antialias")
        with contextlib.closing(decode_ahead(tasks, decode, workers=None, ahead=64)) as decoded:
            for picture, row in zip(unread.tolist(), decoded, strict=True):
                self._state[picture] = UNREADABLE if row.pixels is None else READ
                if row.pixels is not None:  # not through a memory map: a full disk would kill the process
                    self._file.seek(picture * SIDE * SIDE)
                    self._file.write(np.rint(row.pixels @ GREY).astype(np.uint8).tobytes())
        self._file.flush()

    def _standardised(self, pictures: np.ndarray) -> np.ndarray:
        """Return pictures as rows (p, SIDE * SIDE) of mean 0 and length 1, float32; zeros for one grey value."""
        pixels = np.memmap(self._file, np.uint8, "r", shape=(len(self._rows), SIDE * SIDE))[pictures]
        grey = pixels - pixels.mean(axis=1, dtype=np.float32, keepdims=True)
        length = np.linalg.norm(grey, axis=1, keepdims=True)
        return np.where(length >= MIN_DEVIATION * SIDE, grey / np.maximum(length, MIN_DEVIATION), 0)
