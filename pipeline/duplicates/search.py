"""`find_duplicates`: equal files, and pictures that were saved twice in different ways."""

from __future__ import annotations

import tempfile

import numpy as np

from pipeline.defaults import THRESHOLD
from pipeline.duplicates.exact import exact_duplicates, in_order, make_pair
from pipeline.duplicates.neighbours import Candidates, near_rows
from pipeline.duplicates.pairs import Duplicates
from pipeline.duplicates.pictures import Pictures
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.store import NO_ROW, FeatureStore

ALIKE = 0.9  # correlation from which they are the same
ALONE = 0.95  # cosine from which they are the same where they cannot be looked at


def find_duplicates(
    store: FeatureStore,
    *,
    threshold: float = THRESHOLD,
    callbacks: Callbacks = SILENT,
) -> Duplicates:
    """Find the images of a store that are one picture twice.

    Equal files are known from the index. For the others every row of features is compared with every
    other one; the pictures of nearby rows are then read and compared as small grey ones, mirrored or
    not, so that two photos of one scene do not pass for one photo.

    Parameters
    ----------
    store : FeatureStore
    threshold : float
        The least cosine of two rows whose pictures are looked at. A lower one finds more and takes
        longer; it hardly adds false pairs.
    callbacks : Callbacks, optional

    Returns
    -------
    Duplicates

    Raises
    ------
    StoreDamaged
        A shard is not what was written.
    OSError
        No room for the temporary files, 4 bytes a channel and 1 KiB an image.

    Notes
    -----
    The limits were chosen on 1,960 photos of pets and flowers and five copies each of 200: saved again
    at JPEG quality 70, at 0.8 of the size, 5 % brighter, 2 % cropped at two sides, mirrored. With a
    pretrained MobileNetV2, 997 of 1,000 copies were found, and one of 2,990 pairs was false; with VGG16
    of random weights all copies but half of the mirrored ones. By features alone, a limit without
    false pairs found 66 %. Rotated copies and larger crops are not found; the time grows with the
    square of the images.
    """
    images = store.images
    exact = exact_duplicates(images)
    members = store.members()[::-1]
    image_of = np.full(len(store.index.contents), NO_ROW)
    image_of[store.index.rows[members]] = members  # of equal images the first
    rows = np.flatnonzero(image_of != NO_ROW)
    with tempfile.TemporaryFile() as file:
        pictures = Pictures(store, rows, file)
        near = near_rows(store.rows_on_demand(rows), threshold, lambda pairs: _same(pairs, pictures), callbacks)
    pairs = image_of[rows[near.rows]]
    found = [
        make_pair(images, *pair, kind="near", similarity=similarity, pixels=None if np.isnan(pixels) else pixels)
        for pair, similarity, pixels in zip(pairs.tolist(), near.similarity.tolist(), near.pixels.tolist(), strict=True)
    ]
    return Duplicates(in_order([*exact.pairs, *found]), len(images), rows=len(rows), threshold=threshold)


def _same(near: Candidates, pictures: Pictures) -> Candidates:
    """Those of near rows that are one picture."""
    if not len(near.rows):
        return near
    pixels = pictures.correlations(near.rows)
    same = np.where(np.isnan(pixels), near.similarity >= ALONE, pixels >= ALIKE)
    return near._replace(pixels=pixels).take(same)
