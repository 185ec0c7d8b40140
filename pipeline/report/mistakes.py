"""The images and classes on which a head makes mistakes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MAX_CONFUSIONS = 25  # in the list of the most frequent ones
MAX_PHOTOS = 21  # in each gallery


class Galleries(NamedTuple):
    """Validation images to look at, as rows of `Predictions`."""

    wrong: np.ndarray  # the images with the lowest probability of the true class come first
    uncertain: np.ndarray  # the images whose two highest probabilities are closest to each other


def choose_galleries(y: np.ndarray, probabilities: np.ndarray) -> Galleries:
    """Choose the images whose predictions are most wrong and least certain: `y` (n,), `probabilities` (n, k)."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != y)
    wrong = wrong[np.argsort(probabilities[wrong, y[wrong]], kind="stable")]
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    return Galleries(wrong[:MAX_PHOTOS], np.argsort(first - second, kind="stable")[:MAX_PHOTOS])


def frequent_confusions(confusion: np.ndarray, classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """List the most frequent mistakes as (true class, predicted class, number of images)."""
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    largest = np.argsort(-mistakes, axis=None, kind="stable")[:MAX_CONFUSIONS]
    return [
        (classes[row], classes[column], int(mistakes[row, column]))
        for row, column in zip(*np.unravel_index(largest, mistakes.shape), strict=True)
        if mistakes[row, column]
    ]
