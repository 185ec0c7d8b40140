"""Paired differences of accuracies: two conv bases on the same validation images."""

from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.bootstrap import Interval, bootstrap_intervals

WRONG, RIGHT, MISSING = 0, 1, 2  # what a head says about an image; `MISSING` if it has no features


@dataclass(frozen=True)
class Difference:
    """How much less accurate a conv base is than another one, negative if less, with its 95 % interval."""

    value: float
    interval: Interval

    @property
    def is_worse(self) -> bool:
        """Whether the interval lies below 0."""
        return self.interval[1] < 0


def paired_difference(outcomes: np.ndarray, reference: np.ndarray, units: np.ndarray) -> Difference:
    """Compare two conv bases by a paired bootstrap.

    Parameters
    ----------
    outcomes, reference : ndarray of shape (n,), int
        `WRONG`, `RIGHT` or `MISSING` for each image; images that are missing in one are left out.
    units : ndarray of shape (n,), int64
        Images with the same number are drawn together, such as equal images.
    """
    both = (outcomes != MISSING) & (reference != MISSING)
    if not both.any():
        return Difference(0.0, (-1.0, 1.0))
    difference = (outcomes[both] - reference[both]).astype(np.float64)
    (interval,) = bootstrap_intervals(
        [lambda counts: difference @ counts / counts.sum(axis=0)], len(difference), groups=units[both]
    )
    return Difference(float(difference.mean()), interval or (-1.0, 1.0))
