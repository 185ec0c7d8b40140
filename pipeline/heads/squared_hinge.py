"""`SquaredHinge`: scikit-learn's linear support vector machine, fitted by L-BFGS."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_class_weight

GRADIENT = 1e-5  # a fit ends when the gradient has fallen to this share of its first value; less where C is above 1
MAX_ITERATIONS = 1000


class SquaredHinge(LinearSVC):
    """`LinearSVC` that minimises the same objective with products of matrices in the dtype of X.

    liblinear, which `LinearSVC` uses, copies X as float64 values with their column numbers, four times
    the bytes of float32, and takes several times as long. The folds of a cross-validation are fitted
    with this class; the head itself is fitted with `LinearSVC`. The L2 penalty includes the intercept,
    as in liblinear, and in one-against-the-rest the rest has weight 1.
    """

    def fit(self, X: Any, y: Any) -> SquaredHinge:
        """Fit on an ndarray X of shape (n, d), float32 or float64, and labels y of shape (n,)."""
        self.classes_ = np.unique(y)
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        if len(self.classes_) == 2:
            sides = [(self.classes_[1], weights[1], weights[0])]
        else:
            sides = [(label, weight, 1.0) for label, weight in zip(self.classes_, weights, strict=True)]
        solutions = np.array([_minimize(X, y == label, self.C * own, self.C * rest) for label, own, rest in sides])
        self.coef_, self.intercept_ = solutions[:, :-1], solutions[:, -1]
        return self


def _minimize(X: np.ndarray, is_positive: np.ndarray, C_positive: float, C_negative: float) -> np.ndarray:
    """Return the weights and the intercept that separate two sides, ndarray of shape (d + 1,) in the dtype of X."""
    signs = np.where(is_positive, 1, -1).astype(X.dtype)
    costs = np.where(is_positive, C_positive, C_negative).astype(X.dtype)

    def objective(solution: np.ndarray) -> tuple[float, np.ndarray]:
        weights = solution.astype(X.dtype)
        gaps = np.maximum(1 - signs * (X @ weights[:-1] + weights[-1]), 0)
        slopes = -2 * costs * signs * gaps
        loss = solution @ solution / 2 + np.sum(costs * gaps**2, dtype=np.float64)
        return loss, solution + np.append(slopes @ X, slopes.sum())

    start, tolerance = np.zeros(X.shape[1] + 1), GRADIENT / max(1.0, C_positive, C_negative)
    options = {"gtol": tolerance * np.abs(objective(start)[1]).max(), "ftol": 0, "maxiter": MAX_ITERATIONS}
    return minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x.astype(X.dtype)
