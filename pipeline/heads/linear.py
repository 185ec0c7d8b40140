"""The heads that draw a straight line: logistic, svm, ridge."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeClassifier, RidgeClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

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

    def _classifier(self) -> LogisticRegression:
        return LogisticRegression(
            C=self.choice.fallback if self.C is None else self.C, class_weight=self.class_weight, max_iter=1000
        )


class SVMHead(LinearHead):
    """A linear support vector machine."""

    name = "svm"
    choice: ClassVar[Choice] = Choice("C", "C", SVM_C_GRID, fallback=1e-3)

    def _classifier(self) -> LinearSVC:
        return LinearSVC(
            C=self.choice.fallback if self.C is None else self.C,
            dual="auto",
            class_weight=self.class_weight,
            max_iter=5000,
            random_state=self.random_state,
        )


class RidgeHead(PipelineHead):
    """Least squares on labels of -1 and 1, in closed form: the instant baseline.

    With alpha=None the strength of the L2 penalty is the one of least leave-one-out error, which
    has a closed form too; `search_` then holds the chosen one only.
    """

    name = "ridge"

    def __init__(self, alpha: float | None = None, pool: str = "avg", class_weight: ClassWeight = None):
        self.alpha = alpha
        self.pool = pool
        self.class_weight = class_weight

    def _classifier(self) -> RidgeClassifier | RidgeClassifierCV:
        if self.alpha is None:
            return RidgeClassifierCV(alphas=ALPHA_GRID, class_weight=self.class_weight)
        return RidgeClassifier(alpha=self.alpha, class_weight=self.class_weight)

    def _train(self, steps: Pipeline, pooled: np.ndarray, y: np.ndarray) -> Pipeline:
        trained = super()._train(steps, pooled, y)
        if self.alpha is None:
            ridge = trained["classify"]
            self.search_ = [{"alpha": float(ridge.alpha_), "score": float(ridge.best_score_)}]
        return trained
