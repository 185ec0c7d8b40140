"""The linear heads: logistic, svm, ridge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_sample_weight

from pipeline.heads.calibration import CalibratedHead
from pipeline.heads.folds import Split
from pipeline.heads.head import ClassWeight
from pipeline.heads.pipeline_head import Choice, PipelineHead
from pipeline.heads.squared_hinge import SquaredHinge

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
SVM_C_GRID = (1e-5, 1e-4, 1e-3, 1e-2)  # above, standardised features are separable: slower and no better
ALPHA_GRID = (1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1.0, 0.1)


@dataclass(eq=False, repr=False)
class LinearHead(PipelineHead):
    """What logistic and svm share: C, the inverse strength of an L2 penalty, searched where it is None."""

    choice: ClassVar[Choice] = Choice("C", "C", C_GRID, fallback=1.0)

    C: float | None = None
    pool: str = "avg"
    class_weight: ClassWeight = None
    cv: int = 5
    n_jobs: int | None = -1
    random_state: int | None = 0


class LogisticHead(LinearHead):
    """Logistic regression."""

    name = "logistic"
    training_copies = 1

    def make_classifier(self) -> LogisticRegression:
        """See `PipelineHead`."""
        return LogisticRegression(C=self.C, class_weight=self.class_weight, max_iter=1000)


class SVMHead(CalibratedHead, LinearHead):
    """A linear support vector machine; its probabilities are those of `CalibratedHead`."""

    name = "svm"
    training_copies = 7
    choice: ClassVar[Choice] = Choice("C", "C", SVM_C_GRID, fallback=1e-3)

    def make_classifier(self) -> LinearSVC:
        """See `PipelineHead`."""
        return LinearSVC(
            C=self.C, dual="auto", class_weight=self.class_weight, max_iter=5000, random_state=self.random_state
        )

    def _for_folds(self, classifier: LinearSVC, scaled: np.ndarray) -> LinearSVC:
        if len(scaled) < scaled.shape[1]:  # then liblinear solves the dual problem, which is as fast
            return classifier
        return SquaredHinge(**classifier.get_params())


@dataclass(eq=False, repr=False)
class RidgeHead(CalibratedHead):
    """Least squares on labels of -1 and 1, in closed form: a baseline within seconds.

    With alpha=None the strength of the L2 penalty is the one of least squared error in cross-validation; the `score`
    in `search_` is that error, negated.
    """

    name = "ridge"
    training_copies = 7
    shares_folds = True
    choice: ClassVar[Choice] = Choice("alpha", "alpha", ALPHA_GRID, fallback=1.0)

    alpha: float | None = None
    pool: str = "avg"
    class_weight: ClassWeight = None

    def make_classifier(self) -> RidgeClassifier:
        """See `PipelineHead`."""
        return RidgeClassifier(self.alpha, class_weight=self.class_weight)

    def _score_grid(
        self, classifier: Any, param: str, grid: list[float], splits: list[Split], scaled: np.ndarray, y: np.ndarray
    ) -> list[float]:
        targets = 2.0 * (y[:, None] == self.classes_[1 if len(self.classes_) == 2 else 0 :]) - 1
        weights = compute_sample_weight(self.class_weight, y)
        return [-error for error in ridge_errors(scaled, targets, weights, grid, splits)]


def ridge_errors(
    X: np.ndarray, targets: np.ndarray, weights: np.ndarray, alphas: Sequence[float], splits: Sequence[Split]
) -> list[float]:
    """Return the mean squared error of ridge regression on the held-out rows, for each alpha.

    X has shape (n, d), the targets (n, k), the weights of the squared errors (n,). One Gram matrix per
    fold serves every alpha, several times faster than a grid search.
    """
    if len(X) < X.shape[1]:  # (n, n) coordinates with the same inner products
        eigenvalues, vectors = scipy.linalg.eigh(X.astype(np.float64) @ X.T, driver="evd", overwrite_a=True)
        X = vectors * np.sqrt(np.maximum(eigenvalues, 0))
    d, errors = X.shape[1], np.zeros((len(alphas), len(splits)))
    rows = np.hstack([X, targets, np.ones((len(X), 1))], dtype=np.float64)  # (n, d + k + 1)
    rows *= np.sqrt(weights)[:, None]
    total = rows.T @ rows
    for fold, (train, test) in enumerate(splits):
        left_out = rows[np.setdiff1d(np.arange(len(X)), train)]
        moments = total - left_out.T @ left_out
        means = moments[-1] / moments[-1, -1]
        moments -= np.outer(moments[-1], means)
        gram, right = moments[:d, :d], moments[:d, d:-1]
        centred = rows[test] - rows[test, -1:] * means
        for i, alpha in enumerate(alphas):
            penalised = gram.copy()
            penalised[np.diag_indices(d)] += alpha
            factor = scipy.linalg.cho_factor(penalised, overwrite_a=True, check_finite=False)
            residuals = centred[:, d:-1] - centred[:, :d] @ scipy.linalg.cho_solve(factor, right)
            errors[i, fold] = np.mean(residuals**2) * len(test) / np.sum(weights[test])
    return errors.mean(axis=1).tolist()
