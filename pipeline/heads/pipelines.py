"""`PipelineHead`: pool the features, scale them, hand them to a scikit-learn classifier."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import joblib
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from pipeline.heads.base import Head
from pipeline.heads.grouping import check_groups, first_rows, folds
from pipeline.heads.pooling import Pool

logger = logging.getLogger(__name__)

ClassWeight = str | Mapping[Any, float] | None


class Choice(NamedTuple):
    """A parameter that is chosen by cross-validation where it is None."""

    param: str  # of the head
    estimator_param: str
    grid: tuple[float, ...]  # from the smoothest classifier on, which so wins a tie
    fallback: float  # where a class is too small for two folds


def _classifier_has(method: str) -> Callable[[PipelineHead], bool]:
    return lambda head: hasattr(head._classifier(), method)


class PipelineHead(Head):
    """Pool, scale, classify; a subclass names the classifier and holds its parameters.

    The parameters that heads have in common:

    pool : {"avg", "max", "flatten"}
        See `Pool`. With `flatten`, memory holds all features as float32.
    class_weight : "balanced" or dict, optional
        With "balanced", a search scores by balanced accuracy instead of accuracy.
    cv : int
        Folds of a search, stratified and shuffled; fewer where a class has fewer images. They are
        cut from features that were scaled once: means and variances, for which labels are not
        looked at, count the rows of all folds.
    n_jobs : int
        Threads of a search, one a core by default, which share the scaled features.
    random_state : int
        Of the folds and of the classifier.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        Steps `pool`, `scale`, `classify`, all fitted; from features as they come to labels.
    search_ : list of dict
        What was tried: the parameter and its mean `score` over the folds. Not saved with the head.
    """

    choice: ClassVar[Choice | None] = None
    training_copies: ClassVar[int]  # of the scaled features, as float32, that one thread holds while training
    pool: str

    def fit(self, X: Any, y: Any, groups: Any = None) -> PipelineHead:
        """Train the head.

        Parameters
        ----------
        X : ndarray, `Rows` or `SharedFeatures` of shape (n, height, width, channels) or (n, d), any float
            May be a read-only memory map.
        y : ndarray of shape (n,)
            Labels, at least two different ones.
        groups : ndarray of shape (n,), optional
            Equal where rows are views of one image, the image itself first. They stay together in
            every fold, and a search scores on the images themselves.

        Raises
        ------
        ValueError
            See `Head._check_training_set`.
        HeadError
            `pool` is unknown.
        """
        features, y = self._check_training_set(X, y)
        scaler, scaled = features.scaled(self.pool)
        classifier = self._train(self._classifier(), scaled, y, check_groups(groups, y))
        self.pipeline_ = Pipeline([("pool", Pool(self.pool)), ("scale", scaler), ("classify", classifier)])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row, shape (n,)."""
        pooled = self._check_rows(X).pooled(self.pool)
        return self.pipeline_[1:].predict(pooled)

    @available_if(_classifier_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, shape (n, k), columns as in `classes_`."""
        pooled = self._check_rows(X).pooled(self.pool)
        return self.pipeline_[1:].predict_proba(pooled)

    @available_if(_classifier_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """The score of each class, shape (n, k); of two classes that of the second, shape (n,)."""
        pooled = self._check_rows(X).pooled(self.pool)
        return self.pipeline_[1:].decision_function(pooled)

    def count_parameters(self) -> int:
        """How many numbers predicting needs that were learned from the features.

        Weights and intercepts, the scaler's means and scales, the rows and labels a knn keeps, the
        nodes of a forest.
        """
        check_is_fitted(self)
        scaler = self.pipeline_["scale"]
        return self._count(self.pipeline_["classify"]) + scaler.mean_.size + scaler.scale_.size

    @property
    def searches(self) -> bool:
        """Whether `fit` is to choose a parameter by cross-validation."""
        return self.choice is not None and getattr(self, self.choice.param) is None

    def _classifier(self) -> Any:
        raise NotImplementedError

    def _unfitted(self) -> Pipeline:
        return Pipeline([("pool", Pool(self.pool)), ("scale", StandardScaler()), ("classify", self._classifier())])

    def _count(self, classifier: Any) -> int:
        return classifier.coef_.size + np.size(classifier.intercept_)

    def _train(self, classifier: Any, scaled: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> Any:
        # Classifiers spend their time in compiled code without the interpreter's lock: threads are as
        # fast as processes, start at once, and need no copy of the features. Numeric libraries with
        # threads of their own in each would wait for cores: ten times slower on a busy machine.
        self.search_: list[dict[str, float]] = []
        with joblib.parallel_config("threading"), threadpool_limits(1):
            if self.choice is not None and self.searches:
                classifier = self._search(classifier, scaled, y, groups, self.choice)
            return self._fit(classifier, scaled, y, groups)

    def _fit(self, classifier: Any, scaled: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> Any:
        return classifier.fit(scaled, y)

    def _search(
        self, classifier: Any, scaled: np.ndarray, y: np.ndarray, groups: np.ndarray | None, choice: Choice
    ) -> Any:
        """The classifier, not fitted, with the parameter of the best score."""
        params = self.get_params()
        images = y[first_rows(groups, len(y))]
        smallest = int(np.unique(images, return_counts=True)[1].min())
        count = min(params["cv"], smallest)
        if count < 2:
            reason = "a class has a single image" if smallest < 2 else f"cv={params['cv']} leaves nothing to score on"
            logger.warning("%s: %s, so %s=%g is taken unsearched", self.name, reason, choice.param, choice.fallback)
            return classifier
        search = GridSearchCV(
            classifier,
            {choice.estimator_param: self._grid(choice, len(images) - -(-len(images) // count))},
            scoring="balanced_accuracy" if params.get("class_weight") == "balanced" else "accuracy",
            cv=folds(count, y, groups, params["random_state"]),
            n_jobs=params["n_jobs"],
            error_score="raise",
            refit=False,
        ).fit(scaled, y)
        tried = zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True)
        self.search_ = [{choice.param: next(iter(p.values())), "score": float(score)} for p, score in tried]
        return classifier.set_params(**search.best_params_)

    def _grid(self, choice: Choice, training_rows: int) -> list[float]:
        return list(choice.grid)
