"""A two-dimensional map of the features: images with similar features lie near each other."""

from typing import NamedTuple

import numpy as np

from pipeline.store import FeatureStore

MIN_IMAGES, MAX_IMAGES = 10, 1500  # on the map; t-SNE takes some seconds for 1500
MAX_DIMENSIONS = 50  # after the PCA
PERPLEXITY = 30.0


class FeatureMap(NamedTuple):
    """Positions of n images on the map."""

    images: np.ndarray  # (n,): indices into `store.images`
    points: np.ndarray  # (n, 2)
    n_with_features: int  # if it is more than n, `images` is a random sample


def map_features(store: FeatureStore) -> FeatureMap | None:
    """Map features to two dimensions: average pooling, scaling, PCA to 50 dimensions, t-SNE.

    t-SNE keeps neighbours (van der Maaten and Hinton, "Visualizing data using t-SNE", 2008): distances
    between far groups, and the sizes of groups, mean little. It starts from the first two principal
    components (Kobak and Berens, 2019) and all seeds are fixed, so that a store has one map. The map is None
    if there are too few images, or if all of them have the same features.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    from pipeline.heads.pooling import Pool

    images = store.members()
    n_with_features = len(images)
    if n_with_features > MAX_IMAGES:
        images = np.sort(np.random.default_rng(0).choice(images, MAX_IMAGES, replace=False))
    if n_with_features < MIN_IMAGES:
        return None
    pooled = Pool("avg").fit_transform(store.rows_on_demand(store.index.rows[images]))
    scaled = StandardScaler().fit_transform(pooled)
    if not scaled.any():
        return None
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(images) - 1) / 3),
        init="pca" if scaled.shape[1] > 1 else "random",
        random_state=0,
    )
    with threadpool_limits(1):  # on a busy machine the threads of t-SNE mostly wait for each other
        reduced = PCA(min(MAX_DIMENSIONS, *scaled.shape), random_state=0).fit_transform(scaled)
        return FeatureMap(images, tsne.fit_transform(reduced), n_with_features)
