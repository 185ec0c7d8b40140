"""Whether two images show the same picture: their small grey versions are compared, also mirrored."""

import contextlib
import threading
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import IO

import numpy as np

from pipeline.duplicates.similar_features import RowPairs
from pipeline.extraction.decode_ahead import Task, decode_ahead, list_tasks
from pipeline.images.decode import decode_image
from pipeline.store import FeatureStore, Index

MIN_CORRELATION = 0.9  # of two pictures that are the same
MIN_COSINE = 0.95  # of two rows whose pictures cannot be read and count as the same
SIDE = 32  # pixels
PIXELS = SIDE * SIDE  # of a grey picture, one byte each
MIN_DEVIATION = 1.0  # grey levels; a picture with a smaller standard deviation has nothing to compare
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG
UNREAD, READ, UNREADABLE = range(3)


class GreyPictures:
    """Small grey pictures of the images of n rows, each read when it is first needed and stored in an empty file."""

    def __init__(self, store: FeatureStore, rows: np.ndarray, file: IO[bytes]):
        self._store, self._rows, self._file = store, rows, file
        self._state, self._lock = np.full(len(rows), UNREAD, np.uint8), threading.Lock()
        file.truncate(len(rows) * PIXELS)

    def keep_same(self, pairs: RowPairs) -> RowPairs:
        """Return those pairs of similar rows, indices into `rows`, that show the same picture; threads may call it."""
        if not len(pairs.rows):
            return pairs
        with self._lock:
            self._read(np.unique(pairs.rows))
            pictures = np.memmap(self._file, np.uint8, "r", shape=(len(self._rows), PIXELS))
        return keep_same(pairs, pictures, self._state == READ)

    def _read(self, pictures: np.ndarray) -> None:
        """Read those of the pictures that have not been read, given by their indices."""
        unread = pictures[self._state[pictures] == UNREAD]
        tasks = tasks_of_rows(self._store.index, self._rows[unread])
        with contextlib.closing(read_grey(tasks)) as read:
            for i, picture in zip(unread.tolist(), read, strict=True):
                self._state[i] = UNREADABLE if picture is None else READ
                if picture is not None:  # not through a memory map: a full disk would kill the process
                    self._file.seek(i * PIXELS)
                    self._file.write(picture.tobytes())
        self._file.flush()


def tasks_of_rows(index: Index, rows: np.ndarray) -> Iterator[Task]:
    """List the images of some rows."""
    return list_tasks(index, np.stack([rows, rows + 1], axis=1))


def read_grey(tasks: Iterable[Task], workers: int | None = None) -> Generator[np.ndarray | None]:
    """Yield the small grey picture of each image, ndarray of shape (1024,), uint8; None if it cannot be read.

    An image is also not read where it is no longer the one in the index. `workers` is the number of threads.
    """
    decode = partial(decode_image, size=(SIDE, SIDE), resize="antialias")
    with contextlib.closing(decode_ahead(tasks, decode, workers=workers, ahead=64)) as decoded:
        for image in decoded:
            yield None if image.pixels is None else np.rint(image.pixels @ GREY).astype(np.uint8).reshape(PIXELS)


def keep_same(pairs: RowPairs, pictures: np.ndarray, is_read: np.ndarray) -> RowPairs:
    """Return those pairs of similar rows that show the same picture.

    `pictures` is of shape (n, 1024), uint8; `is_read`, of shape (n,), bool, says which of them could be read.
    """
    if not len(pairs.rows):
        return pairs
    pixels = _correlate(pairs.rows, pictures, is_read)
    same = np.where(np.isnan(pixels), pairs.similarity >= MIN_COSINE, pixels >= MIN_CORRELATION)
    return pairs._replace(pixels=pixels).take(same)


def _correlate(pairs: np.ndarray, pictures: np.ndarray, is_read: np.ndarray) -> np.ndarray:
    """Return Pearson's correlations (p,) of the grey values of pairs (p, 2) of pictures.

    Brightness and contrast do not change them. A correlation is the larger one of the picture as it
    is and mirrored: 0 where a picture has one grey value only, NaN where an image could not be read. Memory grows with
    the square of the number of different pictures.
    """
    (firsts, first_index), (seconds, second_index) = (np.unique(side, return_inverse=True) for side in pairs.T)
    a, b = _standardise(pictures[firsts]), _standardise(pictures[seconds])
    mirrored = b.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(b.shape)
    correlations = np.maximum(a @ b.T, a @ mirrored.T)
    return np.where(is_read[pairs].all(axis=1), correlations[first_index, second_index], np.float32(np.nan))


def _standardise(pictures: np.ndarray) -> np.ndarray:
    """Return pictures as rows (p, 1024) of mean 0 and length 1, float32; zeros for one grey value."""
    grey = pictures - pictures.mean(axis=1, dtype=np.float32, keepdims=True)
    length = np.linalg.norm(grey, axis=1, keepdims=True)
    return np.where(length >= MIN_DEVIATION * SIDE, grey / np.maximum(length, MIN_DEVIATION), 0)
