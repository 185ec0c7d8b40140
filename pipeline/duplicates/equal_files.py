"""Exact duplicates: files with equal bytes, known from the table of images without reading a file."""

import numpy as np

from pipeline.duplicates.pairs import Duplicates, make_pair, pairs_with_first
from pipeline.images.table import ImageTable


def exact_duplicates(images: ImageTable) -> Duplicates:
    """Find the images whose files have the same sha256; each is paired with the first one of its content."""
    readable = np.flatnonzero(images.readable)
    pairs = pairs_with_first(readable, images.contents[readable])
    return Duplicates(tuple(make_pair(images, rows, "exact") for rows in pairs), len(images))
