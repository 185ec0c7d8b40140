"""Successive halving: which specs go on to more images, and to how many (Jamieson and Talwalkar, 2016)."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from pipeline.images.table import SPLITS, ImageTable

FACTOR = 4  # images of a step over those of the step before


def next_step(images: ImageTable, per_class: int) -> int | None:
    """Return the train images of each class of the next step; None for all images, once half of them are reached."""
    is_train = images.split_codes == SPLITS.index("train")
    largest = int(np.bincount(images.labels[is_train & (images.labels >= 0)]).max())
    return FACTOR * per_class if 2 * FACTOR * per_class < largest else None


def survivors(ranked: Sequence[str], is_worse: Collection[str]) -> list[str]:
    """Return who goes on: the better half of `ranked`, best first, and who is not in `is_worse` than the best."""
    return [name for i, name in enumerate(ranked) if 2 * i < len(ranked) or name not in is_worse]


def affordable(ranked: Sequence[str], seconds: Mapping[str, float], left: float | None) -> list[str]:
    """Return the best ones whose `seconds` together are within what is `left` of the budget, None for no limit."""
    taken, total = [], 0.0
    for name in ranked:
        if left is None or total + seconds[name] <= left:
            taken.append(name)
            total += seconds[name]
    return taken
