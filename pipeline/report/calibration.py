"""Calibration of a head: how well its probabilities agree with the shares of right predictions."""

from typing import NamedTuple

import numpy as np

BINS = 10


class Calibration(NamedTuple):
    """Calibration of a head.

    `brier_score` is the mean squared error of the probabilities: of the second of two classes, from 0 to 1,
    or summed over three classes and more, from 0 to 2. `error` is the expected calibration error (Naeini,
    Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", 2015): the mean
    absolute difference between `mean_probability` and `share`, weighted by the numbers of images in the bins.
    """

    brier_score: float
    error: float
    mean_probability: np.ndarray  # of each bin that has images
    share: np.ndarray  # of events, in each bin that has images
    counts: np.ndarray  # (BINS,): images in each bin


def measure_calibration(y: np.ndarray, probabilities: np.ndarray) -> Calibration:
    """Compare probabilities, of shape (n, k), with the true classes `y`, of shape (n,).

    For two classes, the event is that an image belongs to the second class; for more, that the predicted
    class is right (Guo et al., "On calibration of modern neural networks", 2017).
    """
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss

    k = probabilities.shape[1]
    probabilities = np.clip(probabilities, 0, 1)  # rounding errors may lead to more than 1
    classes = np.ones(len(y), int) if k == 2 else probabilities.argmax(axis=1)
    probability = probabilities[np.arange(len(y)), classes]
    share, mean_probability = calibration_curve(y == classes, probability, n_bins=BINS)
    # The bins of calibration_curve, which does not return its counts.
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], probability), minlength=BINS)
    return Calibration(
        brier_score=float(brier_score_loss(y, probabilities, labels=np.arange(k), scale_by_half="auto")),
        error=float(np.average(np.abs(share - mean_probability), weights=counts[counts > 0])),
        mean_probability=mean_probability,
        share=share,
        counts=counts,
    )
