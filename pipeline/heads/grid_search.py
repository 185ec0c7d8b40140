"""Parameters that cross-validation chooses where they are None, and the values that it tries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import joblib
import numpy as np
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from pipeline.heads.folds import Split

# From the smoothest classifier on, which therefore wins a tie.


class Choice(NamedTuple):
    """A parameter that is chosen by cross-validation where it is None.

    Attributes
    ----------
    param, classifier_param : str
        Its name in the head and in the scikit-learn classifier.
    grid : tuple of float
        The values to try.
    fallback : float
        The value where no folds can be drawn.
    """

    param: str
    classifier_param: str
    grid: tuple[float, ...]
    fallback: float


def score_grid(
    classifier: Any,
    param: str,
    grid: Sequence[float],
    splits: Sequence[Split],
    X: np.ndarray,
    y: np.ndarray,
    *,
    balanced: bool,
    n_jobs: int | None,
) -> list[float]:
    """Return the mean accuracy (balanced accuracy if `balanced`) over the folds for each value of a grid."""
    with one_core_per_thread():
        search = GridSearchCV(
            classifier,
            {param: list(grid)},
            scoring="balanced_accuracy" if balanced else "accuracy",
            cv=splits,
            n_jobs=n_jobs,
            error_score="raise",
            refit=False,
        ).fit(X, y)
    return search.cv_results_["mean_test_score"].tolist()


@contextmanager
def one_core_per_thread() -> Iterator[None]:
    """Let joblib use threads, and numeric libraries one core in each of them.

    Classifiers spend their time in compiled code without the interpreter's lock: threads are as fast
    as processes, start at once, and need no copy of the features. Numeric libraries with threads of
    their own in each would wait for cores: ten times slower on a busy machine.
    """
    with joblib.parallel_config("threading"), threadpool_limits(1):
        yield
