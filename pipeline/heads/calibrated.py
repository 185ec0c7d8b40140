"""`CalibratedHead`: probabilities for classifiers that only give scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_class_weight

from pipeline.heads.grouping import first_rows, folds
from pipeline.heads.pipelines import PipelineHead

logger = logging.getLogger(__name__)

FOLDS = 5


class CalibratedHead(PipelineHead):
    """A linear classifier whose scores become probabilities by temperature scaling.

    One number, the inverse temperature, multiplies the scores before a softmax (Guo et al., "On
    calibration of modern neural networks", 2017), so that the most probable class is always the one
    of the largest score. scikit-learn's `CalibratedClassifierCV` finds it: it minimises the log loss
    of scores that the training rows get in cross-validation, from classifiers that did not see them.
    The classifier itself is then fitted on all training rows. A `class_weight` counts in the
    classifier, not in the log loss.

    The step `classify` of `pipeline_` is that `CalibratedClassifierCV`.
    """

    @property
    def linear_(self) -> Any:
        """The fitted classifier that gives the scores."""
        return self.pipeline_["classify"].calibrated_classifiers_[0].estimator

    @property
    def inverse_temperature_(self) -> float:
        """What scores are multiplied by; of two classes s and -s are the scores of the second and the first."""
        return float(self.pipeline_["classify"].calibrated_classifiers_[0].calibrators[0].beta_)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, shape (n, k), columns as in `classes_`."""
        pooled = self._check_rows(X).pooled(self.pool)
        probabilities = self.pipeline_[1:].predict_proba(pooled)
        return probabilities / probabilities.sum(axis=1, keepdims=True)  # float32 scores leave 1e-7 to be mended

    def decision_function(self, X: Any) -> np.ndarray:
        """The score of each class, shape (n, k); of two classes that of the second, shape (n,)."""
        pooled = self._check_rows(X).pooled(self.pool)
        return self.linear_.decision_function(self.pipeline_["scale"].transform(pooled))

    def _unfitted(self) -> Pipeline:
        *steps, (name, classifier) = super()._unfitted().steps
        return Pipeline([*steps, (name, _calibrated(classifier))])

    def _count(self, classifier: CalibratedClassifierCV) -> int:
        return super()._count(self.linear_) + 1

    def _fit(
        self, classifier: Any, scaled: np.ndarray, y: np.ndarray, groups: np.ndarray | None
    ) -> CalibratedClassifierCV:
        # The loss takes labels for column numbers, which labels with a gap, 0 and 2, are not.
        if isinstance(classifier.class_weight, Mapping):
            weights = compute_class_weight(classifier.class_weight, classes=self.classes_, y=y)
            classifier.set_params(class_weight=dict(enumerate(weights.tolist())))
        calibrated = _calibrated(classifier).set_params(cv=self._folds(y, groups))
        calibrated.fit(scaled, np.searchsorted(self.classes_, y))
        calibrated.classes_ = self.classes_
        return calibrated.set_params(cv=None)  # of no use in a saved head

    def _folds(
        self, y: np.ndarray, groups: np.ndarray | None
    ) -> StratifiedKFold | Sequence[tuple[np.ndarray, np.ndarray]]:
        params = self.get_params()
        smallest = int(np.unique(y[first_rows(groups, len(y))], return_counts=True)[1].min())
        count = min(params.get("cv", FOLDS), smallest)
        if count >= 2:
            return folds(count, y, groups, params.get("random_state", 0), partition=True)
        logger.warning("%s: no two folds have images of every class, so its probabilities will be too sure", self.name)
        every = np.arange(len(y))
        return [(every, every)]


def _calibrated(classifier: Any) -> CalibratedClassifierCV:
    return CalibratedClassifierCV(classifier, method="temperature", ensemble=False)
