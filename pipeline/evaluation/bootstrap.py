"""How far a score on n rows may be from the score on all rows like them: percentile bootstrap intervals.

Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. Rows are drawn with
replacement, n at a time, from all of them: the classes' shares vary as they did when the rows were
split off. Rows of a group, equal images say, are drawn together, as they are no news of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95
BLOCK = 2**18  # rows drawn at a time: what a processor's cache holds

Interval = tuple[float, float]
Statistic = Callable[[np.ndarray], np.ndarray]  # (n, b) how often each row was drawn -> (b,) scores, or NaN


def bootstrap_intervals(
    statistics: Sequence[Statistic],
    n: int,
    *,
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval | None]:
    """The 95 % percentile interval of each statistic, all on the same resamples.

    Parameters
    ----------
    statistics : sequence of callable
        `accuracy_of(...)`, `AUC(...)`.
    n : int
        Rows.
    groups : ndarray of shape (n,), optional
        Rows of one value are drawn together; each on its own if not given.
    resamples, seed : int
        The same seed gives the same intervals.

    Returns
    -------
    list of (low, high) or None
        Of the resamples for which the score is defined; None where there are none. A score that is
        perfect on all rows has the interval (1, 1): resampling shows no error that did not occur.
    """
    drawn = draws(n, groups=groups, resamples=resamples, seed=seed)
    scores = [[statistic(counts) for statistic in statistics] for counts in drawn]
    return [_interval(np.concatenate(parts)) for parts in zip(*scores, strict=True)]


def draws(n: int, *, groups: np.ndarray | None, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each row is drawn, a column a resample, in blocks of shape (n, b), float64."""
    rng = np.random.default_rng(seed)
    n_groups, group_of = (n, None) if groups is None else _numbered(groups)
    step = max(1, BLOCK // n)
    for start in range(0, resamples, step):
        b = min(step, resamples - start)
        picked = rng.integers(
            n_groups, size=(b, n_groups)
        )  # a resample after the other: the block's size changes nothing
        counts = np.bincount((picked * b + np.arange(b)[:, None]).ravel(), minlength=n_groups * b)
        counts = counts.reshape(n_groups, b).astype(np.float64)
        yield counts if group_of is None else counts[group_of]


def accuracy_of(right: np.ndarray) -> Statistic:
    """The share of right rows, from an ndarray of shape (n,), bool."""
    return lambda counts: right.astype(np.float64) @ counts / counts.sum(axis=0)


class AUC:
    """The area under the ROC curve: the share of pairs of rows, one of each class, in the right order; ties count half.

    Parameters
    ----------
    scores : ndarray of shape (n,), float
    positive : ndarray of shape (n,), bool
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray):
        order = np.argsort(scores)
        self.positive, self.negative = order[positive[order]], order[~positive[order]]
        negative, own = scores[self.negative], scores[self.positive]
        self.below, self.upto = (np.searchsorted(negative, own, side) for side in ("left", "right"))

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """The area in each resample, (n, b) -> (b,); NaN where a class was not drawn."""
        beaten = np.zeros((len(self.negative) + 1, counts.shape[1]))
        np.cumsum(counts[self.negative], axis=0, out=beaten[1:])
        drawn = counts[self.positive]
        won = np.einsum("pb,pb->b", drawn, beaten[self.below] + beaten[self.upto]) / 2
        with np.errstate(invalid="ignore"):
            return won / (drawn.sum(axis=0) * beaten[-1])


def _interval(scores: np.ndarray) -> Interval | None:
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return None
    low, high = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _numbered(groups: np.ndarray) -> tuple[int, np.ndarray]:
    values, group_of = np.unique(groups, return_inverse=True)
    return len(values), group_of
