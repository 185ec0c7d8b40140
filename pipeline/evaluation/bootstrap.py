"""Percentile bootstrap intervals of a head's scores.

Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. Each resample draws n rows
with replacement from all n rows. Rows of one group, such as copies of one image, are drawn together,
because they are not independent of each other.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95
BLOCK = 2**18  # counts computed at a time; they fit into the processor's cache

Interval = tuple[float, float]
# (n, b): how often each of n rows was drawn in each of b resamples -> (b,): scores, NaN where not defined
Statistic = Callable[[np.ndarray], np.ndarray]


def bootstrap_intervals(
    statistics: Sequence[Statistic],
    n: int,
    *,
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval | None]:
    """Compute the 95 % percentile interval of each statistic on the same resamples.

    Rows with the same value of `groups`, an ndarray of shape (n,), are drawn together. Resamples for
    which a score is not defined are left out; the interval is None if it is defined for none of them.
    A perfect score has the interval (1, 1), because no resample can contain an error.
    """
    blocks = resample_counts(n, groups=groups, resamples=resamples, seed=seed)
    scores = [[statistic(counts) for statistic in statistics] for counts in blocks]
    return [_interval(np.concatenate(parts)) for parts in zip(*scores, strict=True)]


def resample_counts(n: int, *, groups: np.ndarray | None, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each row is drawn, one column per resample, in blocks of shape (n, b), float64."""
    rng = np.random.default_rng(seed)
    group_of_row = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_groups = int(group_of_row.max()) + 1
    step = max(1, BLOCK // n)
    for start in range(0, resamples, step):
        b = min(step, resamples - start)
        # One resample after the other, so that the size of a block does not change the draws.
        drawn = rng.integers(n_groups, size=(b, n_groups))
        counts = np.bincount((drawn * b + np.arange(b)[:, None]).ravel(), minlength=n_groups * b)
        yield counts.reshape(n_groups, b).astype(np.float64)[group_of_row]


def accuracy_of(is_right: np.ndarray) -> Statistic:
    """Return the accuracy as a statistic; `is_right` is an ndarray of shape (n,), bool."""
    return lambda counts: is_right.astype(np.float64) @ counts / counts.sum(axis=0)


class AUC:
    """Area under the ROC curve as a statistic.

    It is the share of pairs of a positive and a negative row in which the positive one has the higher
    score; ties count half.
    """

    def __init__(self, scores: np.ndarray, is_positive: np.ndarray):  # (n,) float, (n,) bool
        order = np.argsort(scores)
        self.positive, self.negative = order[is_positive[order]], order[~is_positive[order]]
        # For each positive row: the number of negative rows with a lower score, and with a lower or equal one.
        self.lower, self.lower_or_equal = (
            np.searchsorted(scores[self.negative], scores[self.positive], side) for side in ("left", "right")
        )

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Compute the area in each resample, (n, b) -> (b,); NaN where only one class was drawn."""
        negatives = np.zeros((len(self.negative) + 1, counts.shape[1]))  # cumulative, by rising score
        np.cumsum(counts[self.negative], axis=0, out=negatives[1:])
        positives = counts[self.positive]
        in_order = np.einsum("pb,pb->b", positives, negatives[self.lower] + negatives[self.lower_or_equal]) / 2
        with np.errstate(invalid="ignore"):
            return in_order / (positives.sum(axis=0) * negatives[-1])


def _interval(scores: np.ndarray) -> Interval | None:
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return None
    low, high = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
