"""Hold out a tenth of the train images, so that the epoch is not chosen on the images that are scored."""

import numpy as np

FRACTION = 0.1
MIN_IMAGES = 20  # the loss on fewer images is too noisy to choose an epoch
SEED = 0


def hold_out(y: np.ndarray, groups: np.ndarray, images: np.ndarray | None = None) -> np.ndarray | None:
    """Draw the rows of a tenth of the groups of each class, the same at each call, as an array of shape (n,), bool.

    `y`, `groups` and `images` are of shape (n,): the labels of the train rows, equal numbers where rows
    must not be separated, and equal numbers where rows are views of one image. The result is None if
    the rows show fewer than 20 images, or if a class would have no other rows.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    rng, is_drawn = np.random.default_rng(SEED), np.zeros(len(first), bool)
    for label in np.unique(y[first]):
        of_class = rng.permutation(np.flatnonzero(y[first] == label))
        is_drawn[of_class[: round(FRACTION * len(of_class))]] = True
    held_out = is_drawn[group]
    n = len(np.unique((np.arange(len(y)) if images is None else images)[held_out]))
    has_all_classes = np.array_equal(np.unique(y[~held_out]), np.unique(y))
    return held_out if n >= MIN_IMAGES and has_all_classes else None
