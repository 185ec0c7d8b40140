"""`CalibratedHead`: probabilities for classifiers that only give scores."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.utils.class_weight import compute_class_weight

from pipeline.heads.folds import RowGroups, make_folds
from pipeline.heads.pipeline_head import PipelineHead

logger = logging.getLogger(__name__)


class CalibratedHead(PipelineHead):
    """A linear classifier whose scores become probabilities by temperature scaling.

    One number, the inverse temperature, multiplies the scores before a softmax (Guo et al., "On
    calibration of modern neural networks", 2017), so that the class with the largest score is always
    the most probable one. scikit-learn's `CalibratedClassifierCV` fits it: it minimises the log loss
    of the scores that training rows get in cross-validation from classifiers trained without them.
    A `class_weight` counts in the classifier, not in the log loss.
    """

    @property
    def linear_(self) -> Any:
        """The fitted classifier that gives the scores."""
        return self.pipeline_["classify"].calibrated_classifiers_[0].estimator

    @property
    def inverse_temperature_(self) -> float:
        """The factor of the scores; with two classes, their scores are -s and s."""
        return float(self.pipeline_["classify"].calibrated_classifiers_[0].calibrators[0].beta_)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, shape (n, k), columns as in `classes_`."""
        pooled = self._check_rows(X).pooled(self.pool)
        probabilities = self.pipeline_[1:].predict_proba(pooled)
        return probabilities / probabilities.sum(axis=1, keepdims=True)  # float32 scores give sums that are 1e-7 off

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the score of each class, shape (n, k); with two classes that of the second, shape (n,)."""
        pooled = self._check_rows(X).pooled(self.pool)
        return self.linear_.decision_function(self.pipeline_["scale"].transform(pooled))

    def _count(self, classifier: CalibratedClassifierCV) -> int:
        return super()._count(self.linear_) + 1

    def _fit(self, classifier: Any, scaled: np.ndarray, y: np.ndarray, rows: RowGroups) -> CalibratedClassifierCV:
        # CalibratedClassifierCV reads labels as column numbers, which labels with a gap, such as 0 and 2, are not.
        if isinstance(classifier.class_weight, Mapping):
            weights = compute_class_weight(classifier.class_weight, classes=self.classes_, y=y)
            classifier.set_params(class_weight=dict(enumerate(weights.tolist())))
        splits = make_folds(self.cv, y, rows, self.random_state, score_views=True)
        if not splits:
            logger.warning("%s: no two folds have images of every class, so it will be overconfident", self.name)
            splits = [(np.arange(len(y)), np.arange(len(y)))]
        codes, in_folds = np.searchsorted(self.classes_, y), self._for_folds(classifier, scaled)
        calibrated = CalibratedClassifierCV(
            in_folds, method="temperature", ensemble=False, cv=splits, n_jobs=self.n_jobs
        ).fit(scaled, codes)
        if in_folds is not classifier:
            calibrated.calibrated_classifiers_[0].estimator = clone(classifier).fit(scaled, codes)
            calibrated.estimator = classifier
        calibrated.classes_ = self.classes_
        return calibrated.set_params(cv=None)  # a saved head does not need the folds
