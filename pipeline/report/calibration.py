"""Whether probabilities are what they say."""

from __future__ import annotations

import numpy as np

from pipeline.report.figures import BINS, bin_counts


def reliability_pairs(y: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What was said with which probability, and whether it was so.

    Of two classes it is said of each image that it is of the second; of more, that it is of the class
    which the head names (Guo et al., "On calibration of modern neural networks", 2017).

    Parameters
    ----------
    y : ndarray of shape (n,), int
    probabilities : ndarray of shape (n, k)

    Returns
    -------
    happened : ndarray of shape (n,), bool
    probability : ndarray of shape (n,), float64
        From 0 to 1; float32 rounding is cut off.
    """
    named = np.ones(len(y), int) if probabilities.shape[1] == 2 else probabilities.argmax(axis=1)
    said = np.take_along_axis(probabilities, named[:, None], axis=1)[:, 0].astype(np.float64)
    return y == named, np.clip(said, 0, 1)


def expected_calibration_error(happened: np.ndarray, probability: np.ndarray) -> float:
    """The mean over ten equal bins, weighted by their counts, of |share that happened - mean probability|.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", 2015.
    """
    from sklearn.calibration import calibration_curve

    share, said = calibration_curve(happened, probability, n_bins=BINS)
    counts = bin_counts(probability)
    return float(np.average(np.abs(share - said), weights=counts[counts > 0]))


def mean_brier_score(y: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean squared error of the probabilities: of two classes that of the second, from 0 to 1; of more
    summed over the classes, from 0 to 2 (Brier, 1950)."""
    of_truth = np.take_along_axis(probabilities, y[:, None], axis=1)[:, 0].astype(np.float64)
    # As sum (p - truth)², but that truth is no second table of n rows and k columns.
    per_image = np.einsum("ij,ij->i", probabilities, probabilities, dtype=np.float64) - 2 * of_truth + 1
    return float(per_image.mean() / (2 if probabilities.shape[1] == 2 else 1))
