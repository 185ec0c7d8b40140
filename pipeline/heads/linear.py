"""The heads that draw a straight line: logistic, svm, ridge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import scipy.linalg
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from pipeline.heads.calibrated import CalibratedHead
from pipeline.heads.grouping import first_rows
from pipeline.heads.lazy_rows import BLOCK
from pipeline.heads.pipelines import Choice, ClassWeight, PipelineHead

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
SVM_C_GRID = (1e-5, 1e-4, 1e-3, 1e-2)  # standardised features are separable above: slower and no better
ALPHA_GRID = (1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1.0, 0.1)


class LinearHead(PipelineHead):
    """What logistic and svm share: C, the inverse strength of an L2 penalty, searched where it is None."""

    choice: ClassVar[Choice] = Choice("C", "C", C_GRID, fallback=1.0)

    def __init__(
        self,
        C: float | None = None,
        pool: str = "avg",
        class_weight: ClassWeight = None,
        cv: int = 5,
        n_jobs: int | None = -1,
        random_state: int | None = 0,
    ):
        self.C = C
        self.pool = pool
        self.class_weight = class_weight
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state


class LogisticHead(LinearHead):
    """Logistic regression."""

    name = "logistic"
    training_copies = 1

    def _classifier(self) -> LogisticRegression:
        return LogisticRegression(
            C=self.choice.fallback if self.C is None else self.C, class_weight=self.class_weight, max_iter=1000
        )


class SVMHead(CalibratedHead, LinearHead):
    """A linear support vector machine; its probabilities are those of `CalibratedHead`."""

    name = "svm"
    training_copies = 7
    choice: ClassVar[Choice] = Choice("C", "C", SVM_C_GRID, fallback=1e-3)

    def _classifier(self) -> LinearSVC:
        return LinearSVC(
            C=self.choice.fallback if self.C is None else self.C,
            dual="auto",
            class_weight=self.class_weight,
            max_iter=5000,
            random_state=self.random_state,
        )


class RidgeHead(CalibratedHead):
    """Least squares on labels of -1 and 1, in closed form: the instant baseline.

    Its probabilities are those of `CalibratedHead`.

    With alpha=None the strength of the L2 penalty is the one of least leave-one-out error, which
    has a closed form too; `search_` then holds the chosen one only.
    """

    name = "ridge"
    training_copies = 6

    def __init__(self, alpha: float | None = None, pool: str = "avg", class_weight: ClassWeight = None):
        self.alpha = alpha
        self.pool = pool
        self.class_weight = class_weight

    def _classifier(self) -> RidgeClassifier:
        return RidgeClassifier(alpha=1.0 if self.alpha is None else self.alpha, class_weight=self.class_weight)

    def _train(
        self, classifier: RidgeClassifier, scaled: np.ndarray, y: np.ndarray, groups: np.ndarray | None
    ) -> RidgeClassifier:
        found = []
        if self.alpha is None:
            targets = 2.0 * (y[:, None] == self.classes_[1 if len(self.classes_) == 2 else 0 :]) - 1
            weights = compute_sample_weight(self.class_weight, y)
            errors = leave_one_out_errors(scaled, targets, weights, ALPHA_GRID, groups)
            best = int(errors.argmin())
            found = [{"alpha": ALPHA_GRID[best], "score": -float(errors[best])}]
            classifier.set_params(alpha=ALPHA_GRID[best])
        trained = super()._train(classifier, scaled, y, groups)
        self.search_ = found
        return trained


def leave_one_out_errors(
    X: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    alphas: Sequence[float],
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """The mean squared error of ridge regression on the row left out, for each alpha, in closed form.

    With groups all rows of a group are left out together, and the error is that of its first row.

    One eigendecomposition serves every alpha and every row (Rifkin and Lippert, "Notes on
    regularized least squares", 2007). It is taken of the smaller Gram matrix, which is several
    times faster than scikit-learn's RidgeClassifierCV, a decomposition of X. Decompositions run on
    one core: their small steps wait for each other, on a busy machine for seconds.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    targets : ndarray of shape (n, k)
    weights : ndarray of shape (n,)
        Of the rows' squared errors.
    alphas : sequence of float
    groups : ndarray of shape (n,), optional
        Of `check_groups`.

    Returns
    -------
    ndarray of shape (len(alphas),)
    """
    root = np.sqrt(weights)[:, None]
    centred = X - np.average(X, axis=0, weights=weights)  # (n, d), float64
    centred *= root
    goal = root * (targets - np.average(targets, axis=0, weights=weights))  # (n, k)
    tall = len(X) > X.shape[1]
    gram = centred.T @ centred if tall else centred @ centred.T
    with threadpool_limits(1):
        eigenvalues, vectors = scipy.linalg.eigh(gram, driver="evd")
    eigenvalues = np.maximum(eigenvalues, 0)[:, None]
    # Of alpha number a, the hat matrix is basis @ diag(shrunk[:, a]) @ basis.T
    basis = centred @ vectors if tall else vectors  # (n, r)
    shrunk = (1 if tall else eigenvalues) / (eigenvalues + np.asarray(alphas))  # (r, a)
    projected = basis.T @ goal
    fitted = [basis @ (factors[:, None] * projected) for factors in shrunk.T]  # a times (n, k)
    if groups is not None:
        root /= np.sqrt(weights.sum())  # so that root @ root.T is the hat matrix of the intercept
        first = first_rows(groups, len(X))
        return np.array(
            [
                np.mean(_without_their_groups(goal - fit, basis, factors, root, groups)[first] ** 2)
                for fit, factors in zip(fitted, shrunk.T, strict=True)
            ]
        )
    leverage = np.square(basis, out=basis) @ shrunk + (weights / weights.sum())[:, None]  # the last term: the intercept
    left_out = [(goal - fit) / (1 - own[:, None]) for fit, own in zip(fitted, leverage.T, strict=True)]
    return np.array([np.mean(error**2) for error in left_out])


def _without_their_groups(
    residuals: np.ndarray, basis: np.ndarray, factors: np.ndarray, root: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Residuals (n, k) as they are where the group of each row is left out.

    They are (I - H)^-1 times the residuals of a group, where H is its block of the hat matrix,
    `basis @ diag(factors) @ basis.T + root @ root.T`.
    """
    left_out = np.empty_like(residuals)
    by_group, sizes = np.argsort(groups, kind="stable"), np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes).tolist():
        members = by_group[starts[sizes == size][:, None] + np.arange(size)]  # (groups of this size, size)
        for rows in np.array_split(members, max(1, members.size * basis.shape[1] // BLOCK)):
            own = basis[rows]  # (g, size, r)
            hat = (own * factors) @ own.transpose(0, 2, 1) + root[rows] @ root[rows].transpose(0, 2, 1)
            left_out[rows] = np.linalg.solve(np.eye(size) - hat, residuals[rows])
    return left_out
