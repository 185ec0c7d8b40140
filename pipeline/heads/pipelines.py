"""`PipelineHead`: pool the features, scale them, hand them to a scikit-learn classifier."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from pipeline.heads.base import Head
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
        See `Pool`. With `flatten`, memory holds the float32 array and the scaled copy of it, and
        each worker of a search its own folds.
    class_weight : "balanced" or dict, optional
        With "balanced", a search scores by balanced accuracy instead of accuracy.
    cv : int
        Folds of a search, stratified and shuffled; fewer where a class has fewer images.
    n_jobs : int
        Processes of a search, one a core by default. They share one memory map of the pooled
        features, and the numeric libraries in each are held to its share of the cores.
    random_state : int
        Of the folds and of the classifier.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        Steps `pool`, `scale` (where the classifier needs it), `classify`, all fitted.
    search_ : list of dict
        What was tried: the parameter and its mean `score` over the folds. Not saved with the head.
    """

    scaled: ClassVar[bool] = True
    choice: ClassVar[Choice | None] = None
    pool: str

    def fit(self, X: Any, y: Any) -> PipelineHead:
        """Train the head.

        Parameters
        ----------
        X : ndarray of shape (n, height, width, channels) or (n, d), any float
            May be a read-only memory map.
        y : ndarray of shape (n,)
            Labels, at least two different ones.

        Raises
        ------
        ValueError
            See `Head._check_training_set`.
        HeadError
            `pool` is unknown.
        """
        X, y = self._check_training_set(X, y)
        whole = self._unfitted()
        # Pooled here, once, and not in every fold of a search.
        trained = self._train(whole[1:], whole[0].fit_transform(X), y)
        self.pipeline_ = Pipeline([whole.steps[0], *trained.steps])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row, shape (n,)."""
        X = self._check_rows(X)
        return self.pipeline_.predict(X)

    @available_if(_classifier_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, shape (n, k), columns as in `classes_`."""
        X = self._check_rows(X)
        return self.pipeline_.predict_proba(X)

    @available_if(_classifier_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """The score of each class, shape (n, k); of two classes that of the second, shape (n,)."""
        X = self._check_rows(X)
        return self.pipeline_.decision_function(X)

    def count_parameters(self) -> int:
        """How many numbers predicting needs that were learned from the features.

        Weights and intercepts, the scaler's means and scales, the rows and labels a knn keeps, the
        nodes of a forest.
        """
        check_is_fitted(self)
        scaler = self.pipeline_["scale"] if self.scaled else None
        return self._count(self.pipeline_["classify"]) + (scaler.mean_.size + scaler.scale_.size if scaler else 0)

    def _classifier(self) -> Any:
        raise NotImplementedError

    def _unfitted(self) -> Pipeline:
        scale = [("scale", StandardScaler())] if self.scaled else []
        return Pipeline([("pool", Pool(self.pool)), *scale, ("classify", self._classifier())])

    def _count(self, classifier: Any) -> int:
        return classifier.coef_.size + np.size(classifier.intercept_)

    def _train(self, steps: Pipeline, pooled: np.ndarray, y: np.ndarray) -> Pipeline:
        self.search_: list[dict[str, float]] = []
        if self.choice is None or getattr(self, self.choice.param) is not None:
            return steps.fit(pooled, y)
        return self._search(steps, pooled, y, self.choice)

    def _search(self, steps: Pipeline, pooled: np.ndarray, y: np.ndarray, choice: Choice) -> Pipeline:
        params = self.get_params()
        smallest = int(np.unique(y, return_counts=True)[1].min())
        folds = min(params["cv"], smallest)
        if folds < 2:
            reason = "a class has a single image" if smallest < 2 else f"cv={params['cv']} leaves nothing to score on"
            logger.warning("%s: %s, so %s=%g is taken unsearched", self.name, reason, choice.param, choice.fallback)
            return steps.fit(pooled, y)
        search = GridSearchCV(
            steps,
            {f"classify__{choice.estimator_param}": self._grid(choice, len(y) - -(-len(y) // folds))},
            scoring="balanced_accuracy" if params.get("class_weight") == "balanced" else "accuracy",
            cv=StratifiedKFold(folds, shuffle=True, random_state=params["random_state"]),
            n_jobs=params["n_jobs"],
            error_score="raise",
        ).fit(pooled, y)
        tried = zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True)
        self.search_ = [{choice.param: next(iter(p.values())), "score": float(score)} for p, score in tried]
        return search.best_estimator_

    def _grid(self, choice: Choice, training_rows: int) -> list[float]:
        return list(choice.grid)
