"""`UnknownDetector`: find images that are unlike all training images.

The method is that of deep nearest neighbours (Sun, Ming, Zhu and Li, "Out-of-distribution detection
with deep nearest neighbors", ICML 2022): an image is unknown if its features lie further from their
nearest training features than those of almost all training images lie from theirs. As in the paper,
features are scaled to length one and not standardised, which would separate photos of cats and dogs
from flowers far worse. A sample of the training images is enough.
"""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from pipeline.errors import StoreError
from pipeline.heads.memory import available_memory
from pipeline.heads.pooling import Pool
from pipeline.store import FeatureStore

K = 10  # neighbours
MAX_ROWS = 20_000  # training images that others are compared with
MAX_MEASURED = 5_000  # training images whose own distances give the threshold
SEED = 0
FLOAT32 = 4  # bytes


class UnknownDetector:
    """Distances of images from the training images of a store, or from a fixed random sample of them.

    The distance of an image is the mean of the cosine distances of its average-pooled features from
    those of its `K` nearest training images: 0 for equal images, 1 for orthogonal features. An image
    is not compared with itself.

    `threshold` is the distance above which an image is unknown: a quantile of the training images' own
    distances. The quantile 0.99 flags 1 in 100 images that are like the training images.

    Raises
    ------
    StoreError
        The quantile is not in [0, 1], the store has fewer than two train images, or there is not
        enough memory; see `detector_memory`.
    """

    def __init__(self, store: FeatureStore, quantile: float):
        if not 0 <= quantile <= 1:
            raise StoreError(f"the quantile of unknown images is {quantile}, not a fraction from 0 to 1")
        (count, needed), free = detector_memory(store), available_memory()
        if free is not None and needed > free:
            raise StoreError(
                f"{store.directory}: comparing images with {count} train images takes {needed / 1e9:.1f} GB of memory, "
                f"{free / 1e9:.1f} GB are free; leave --unknown out"
            )
        self._rows = _sample(_train_rows(store), MAX_ROWS)
        if len(self._rows) < 2:
            raise StoreError(
                f"{store.directory} has {len(self._rows)} train images; finding unknown images takes two at least"
            )
        pooled = Pool().fit_transform(store.rows_on_demand(self._rows))
        measured = _sample(np.arange(len(self._rows)), MAX_MEASURED)
        own = pooled[measured]  # a copy, as the next line changes `pooled`
        self._search = NearestNeighbors(algorithm="brute").fit(normalize(pooled, copy=False))
        self.threshold = float(np.quantile(self.distances(own, self._rows[measured]), quantile))

    def distances(self, pooled: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the distances of images from the training images, ndarray of shape (n,), float64, from 0 to 2.

        `pooled` holds average-pooled features, float32 of shape (n, channels), `rows` the store's row of
        each image, `NO_ROW` if it has none.
        """
        k = min(K + 1, len(self._rows))
        lengths, neighbours = self._search.kneighbors(normalize(pooled), k)
        cosine = lengths.astype(np.float64) ** 2 / 2  # of vectors of length one
        cosine[self._rows[neighbours] == rows[:, None]] = np.inf  # the image itself
        return np.sort(cosine, axis=1)[:, : k - 1].mean(axis=1)


def detector_memory(store: FeatureStore) -> tuple[int, int]:
    """Return the number of training images that `UnknownDetector` holds and their bytes of memory."""
    rows = min(len(_train_rows(store)), MAX_ROWS)
    return rows, rows * store.feature_shape[-1] * FLOAT32


def _train_rows(store: FeatureStore) -> np.ndarray:
    return np.unique(store.index.rows[store.members("train")])


def _sample(rows: np.ndarray, max_rows: int) -> np.ndarray:
    if len(rows) <= max_rows:
        return rows
    return np.sort(np.random.default_rng(SEED).choice(rows, max_rows, replace=False))
