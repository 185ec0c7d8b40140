"""`Neighbours`: is an image like those that the heads were trained on?

Deep nearest neighbours (Sun, Ming, Zhu and Li, "Out-of-distribution detection with deep nearest
neighbors", ICML 2022): an image whose features lie further from their nearest training features than
almost all training images do from theirs shows something else, whatever a head makes of it. As
there, features are brought to length one and nothing else: standardised as for the heads, they tell
photos of cats and dogs from flowers far worse. A fraction of the training set is enough.
"""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from pipeline.errors import StoreError
from pipeline.heads.memory import available_memory
from pipeline.heads.pooling import Pool
from pipeline.store import FeatureStore

K = 10  # neighbours
MAX_ROWS = 20_000  # training images to look among
MAX_MEASURED = 5_000  # of them, for the distances that are usual
SEED = 0
FLOAT32 = 4  # bytes


class Neighbours:
    """Training images of a store, or a fixed random sample of them, to compare other images with.

    The distance of an image is the mean of the cosine distances to its `K` nearest training images,
    of average-pooled features: 0 for copies, 1 where nothing is in common. An image is never its own
    neighbour.

    Parameters
    ----------
    store : FeatureStore
    quantile : float
        Of the training images' own distances, each measured without the image itself: what is
        further away is unknown. 0.99 flags 1 in 100 images that are like the training images.

    Attributes
    ----------
    threshold : float

    Raises
    ------
    StoreError
        The quantile is no fraction, the store has fewer than two train images, or there is not
        enough memory, see `neighbours_memory`.
    """

    def __init__(self, store: FeatureStore, quantile: float):
        if not 0 <= quantile <= 1:
            raise StoreError(f"the quantile of unknown images is {quantile}, not a fraction from 0 to 1")
        _check_memory(store)
        self._rows = _sample(_train_rows(store), MAX_ROWS)
        if len(self._rows) < 2:
            raise StoreError(f"{store.directory} has {len(self._rows)} train images; unknown ones need two to compare")
        directions = normalize(Pool().fit_transform(store.rows_on_demand(self._rows)), copy=False)
        self._search = NearestNeighbors(algorithm="brute").fit(directions)
        measured = _sample(np.arange(len(self._rows)), MAX_MEASURED)
        self.threshold = float(np.quantile(self._distances(directions[measured], self._rows[measured]), quantile))

    def distances(self, pooled: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """How far images lie from the training images.

        Parameters
        ----------
        pooled : ndarray of shape (n, channels), float32
            Average-pooled features.
        rows : ndarray of shape (n,), int
            The store's row of each image, `NO_ROW` where it has none.

        Returns
        -------
        ndarray of shape (n,), float64
            From 0 to 2.
        """
        return self._distances(normalize(pooled), rows)

    def _distances(self, directions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        among = min(K + 1, len(self._rows))
        lengths, found = self._search.kneighbors(directions, among)
        cosine = lengths.astype(np.float64) ** 2 / 2  # of vectors of length one
        cosine[self._rows[found] == rows[:, None]] = np.inf  # the image itself
        return np.sort(cosine, axis=1)[:, : among - 1].mean(axis=1)


def neighbours_memory(store: FeatureStore) -> tuple[int, int]:
    """How many training images `Neighbours` will look among, and the bytes of memory they take."""
    rows = min(len(_train_rows(store)), MAX_ROWS)
    return rows, rows * store.feature_shape[-1] * FLOAT32


def _train_rows(store: FeatureStore) -> np.ndarray:
    return np.unique(store.index.rows[store.members("train")])


def _sample(rows: np.ndarray, most: int) -> np.ndarray:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(SEED).choice(rows, most, replace=False))


def _check_memory(store: FeatureStore) -> None:
    (rows, needed), there = neighbours_memory(store), available_memory()
    if there is not None and needed > there:
        raise StoreError(
            f"{store.directory}: {rows} train images to compare with take {needed / 1e9:.1f} GB of memory, "
            f"{there / 1e9:.1f} GB are free; go without flagging unknown images"
        )
