"""`find_duplicates`: equal files, and pictures that were saved in different ways."""

import tempfile

import numpy as np

from pipeline.cluster import Cluster
from pipeline.defaults import THRESHOLD
from pipeline.duplicates.equal_files import exact_duplicates
from pipeline.duplicates.on_cluster import similar_rows_on_cluster
from pipeline.duplicates.pairs import Duplicates, make_pair
from pipeline.duplicates.same_picture import GreyPictures
from pipeline.duplicates.similar_features import similar_rows
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.store import NO_ROW, FeatureStore


def find_duplicates(
    store: FeatureStore,
    *,
    threshold: float = THRESHOLD,
    callbacks: Callbacks = SILENT,
    cluster: Cluster | None = None,
) -> Duplicates:
    """Find the images of a store that show the same picture.

    Equal files are known from the index. For the others every row of features is compared with every
    other row; the pictures of similar rows are then read and compared as small grey ones, mirrored or
    not, so that two photos of one scene are not taken for one photo.

    Parameters
    ----------
    store : FeatureStore
    threshold : float
        Minimum cosine of two rows whose pictures are compared. A lower value finds more and takes
        longer; it adds few false pairs.
    callbacks : Callbacks, optional
        `progress` is called with the steps `reading`, `standardising` and `comparing`.
    cluster : Cluster, optional
        Rows are read and compared on its workers, which must have the store and the images under the same paths. All
        pictures are read then, not only those of similar rows. The result is the same.

    Returns
    -------
    Duplicates

    Raises
    ------
    StoreDamaged
        A shard was changed or damaged.
    OSError
        There is no space for the temporary files: 4 bytes per channel and 1 KiB, for each image. With a cluster they
        lie in the store.
    ClusterError
        No worker has the store and the images, or tasks failed on several workers.

    Notes
    -----
    The limits were chosen on 1,960 photos of pets and flowers and five copies of each of 200 photos:
    saved again at JPEG quality 70, at 0.8 of the size, 5 % brighter, 2 % cropped at two sides, mirrored.
    With a pretrained MobileNetV2, 997 of 1,000 copies were found, and one of 2,990 pairs was false; with
    VGG16 and random weights all copies were found but half of the mirrored ones. By features alone, a
    limit without false pairs found 66 %. Rotated copies and larger crops are not found. The time grows
    with the square of the number of images.
    """
    images = store.images
    members = store.members()[::-1]
    image_of = np.full(len(store.index.contents), NO_ROW)
    image_of[store.index.rows[members]] = members  # the first one of equal images
    rows = np.flatnonzero(image_of != NO_ROW)
    if cluster is not None:
        found = similar_rows_on_cluster(store, rows, threshold, callbacks, cluster)
    else:
        with tempfile.TemporaryFile() as file:
            pictures = GreyPictures(store, rows, file)
            found = similar_rows(store.rows_on_demand(rows), threshold, pictures.keep_same, callbacks)
    pairs = [
        make_pair(images, pair, "near", similarity, None if np.isnan(pixels) else pixels)
        for pair, similarity, pixels in zip(
            image_of[rows[found.rows]].tolist(), found.similarity.tolist(), found.pixels.tolist(), strict=True
        )
    ]
    return Duplicates((*exact_duplicates(images).pairs, *pairs), len(images), rows=len(rows), threshold=threshold)
