"""Are two images the same picture? Their small grey versions say it, mirrored or not."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import IO

import numpy as np

from pipeline.rows import decode_ahead, tasks_of
from pipeline.similar.neighbours import OnProgress
from pipeline.store import FeatureStore

SIDE = 32  # pixels
CHUNK = 8192  # pairs compared at a time: 64 MiB
FLAT = 1.0  # grey levels; below this standard deviation there is nothing to compare
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as JPEG


def picture_correlations(store: FeatureStore, pairs: np.ndarray, on_progress: OnProgress) -> np.ndarray:
    """How alike the pictures of pairs of rows are, from -1 to 1.

    Each picture is read once; small ones lie in a temporary file, 1 KiB each.

    Parameters
    ----------
    store : FeatureStore
    pairs : ndarray of shape (p, 2), int64
        Rows of the shards.
    on_progress : callable
        Called as `on_progress("pictures", done, total)`.

    Returns
    -------
    ndarray of shape (p,), float64
        Pearson's correlation of the grey values, which brightness and contrast do not change; the
        larger one of the picture as it is and mirrored. 0 where a picture is all of one grey; NaN where
        an image is gone, or is no longer the one in the index.
    """
    correlations = np.full(len(pairs), np.nan)
    rows, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(pairs.shape)
    with tempfile.TemporaryFile() as file:
        found = _write_pictures(store, rows, file, on_progress)
        whole = np.flatnonzero(found[places].all(axis=1))
        for start in range(0, len(whole), CHUNK):
            chunk = whole[start : start + CHUNK]
            pictures = np.memmap(file, np.uint8, "r", shape=(len(rows), SIDE, SIDE))
            first, second = (_standardised(pictures[side]) for side in places[chunk].T)
            correlations[chunk] = np.maximum(_products(first, second), _products(first, second[:, :, ::-1]))
    return correlations


def _write_pictures(store: FeatureStore, rows: np.ndarray, file: IO[bytes], on_progress: OnProgress) -> np.ndarray:
    """Write the small grey picture of each row, zeros where there is none; returns where there is one."""
    found = np.zeros(len(rows), bool)
    tasks = tasks_of(store.index, np.stack([rows, rows + 1], axis=1))
    workers = os.cpu_count() or 1
    with contextlib.closing(decode_ahead(tasks, (SIDE, SIDE), "antialias", workers=workers, ahead=64)) as decoded:
        for at, one in enumerate(decoded):
            found[at] = one.pixels is not None
            grey = np.zeros((SIDE, SIDE)) if one.pixels is None else one.pixels @ GREY
            file.write(np.rint(grey).astype(np.uint8).tobytes())
            on_progress("pictures", at + 1, len(rows))
    file.flush()
    return found


def _standardised(pictures: np.ndarray) -> np.ndarray:
    """Pictures (p, SIDE, SIDE) at mean 0 and length 1, float32; zeros of a flat one."""
    grey = pictures - pictures.mean(axis=(1, 2), dtype=np.float32, keepdims=True)
    length = np.linalg.norm(grey, axis=(1, 2), keepdims=True)
    return np.where(length >= FLAT * SIDE, grey / np.maximum(length, FLAT), 0)


def _products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("pij,pij->p", first, second, dtype=np.float64)
