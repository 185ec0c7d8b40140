"""Parameters that cross-validation chooses where they are None, and the values that it tries."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import joblib
from threadpoolctl import threadpool_limits


class Choice(NamedTuple):
    """A parameter that is chosen by cross-validation where it is None."""

    param: str  # its name in the head
    classifier_param: str  # its name in the scikit-learn classifier
    grid: tuple[float, ...]  # the values to try, the smoothest classifier first, which therefore wins a tie
    fallback: float  # the value where no folds can be drawn


@contextmanager
def one_core_per_thread() -> Iterator[None]:
    """Let joblib use threads, and numeric libraries one core in each of them.

    Classifiers run compiled code without the interpreter's lock: threads are as fast as processes and need no copy of
    the features. Numeric libraries with threads of their own in each are ten times slower on a busy machine.
    """
    with joblib.parallel_config("threading"), threadpool_limits(1):
        yield
