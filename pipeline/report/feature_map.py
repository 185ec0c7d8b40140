"""A map of the features: images that the conv base finds alike lie near one another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.store import FeatureStore

MAX = 1500  # images on the map; t-SNE takes some seconds for so many
DIMENSIONS = 50  # left by the PCA
MIN = 10  # images that make a map
PERPLEXITY = 30.0


class FeatureMap(NamedTuple):
    """Places of images.

    Attributes
    ----------
    members : ndarray of shape (n,), int64
        Indices into `store.images`.
    places : ndarray of shape (n, 2), float32
    of : int
        Images with features, of which these are a random sample.
    """

    members: np.ndarray
    places: np.ndarray
    of: int


def map_features(store: FeatureStore) -> FeatureMap | None:
    """Average pooling, scaling, PCA to 50 dimensions, t-SNE; with fixed seeds. None where there is nothing to map.

    t-SNE keeps neighbours (van der Maaten and Hinton, "Visualizing data using t-SNE", 2008): distances
    between far groups, and the sizes of groups, mean little. It starts from the first two principal
    components (Kobak and Berens, 2019), so that the same store gives the same map.

    Raises
    ------
    StoreDamaged
        A row of features is not what was written.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    from pipeline.heads.pooling import Pool

    everyone = members = store.members()
    if len(members) > MAX:
        members = np.sort(np.random.default_rng(0).choice(members, MAX, replace=False))
    if len(members) < MIN:
        return None
    pooled = Pool("avg").fit_transform(store.rows_on_demand(store.index.rows[members]))
    scaled = StandardScaler().fit_transform(pooled)
    if not scaled.any():  # all images have the same features
        return None
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(members) - 1) / 3),
        init="pca" if scaled.shape[1] > 1 else "random",
        random_state=0,
    )
    with threadpool_limits(1):  # the threads' many small steps wait for each other on a busy machine
        places = tsne.fit_transform(PCA(min(DIMENSIONS, *scaled.shape), random_state=0).fit_transform(scaled))
    return FeatureMap(members, places, len(everyone))
