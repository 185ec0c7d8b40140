"""`PipelineHead`: pool the features, scale them, train a scikit-learn classifier."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import joblib
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from pipeline.heads.folds import RowGroups, Split, check_groups, make_folds
from pipeline.heads.head import ClassWeight, Head, parameter_errors
from pipeline.heads.pooling import Pool

logger = logging.getLogger(__name__)


class Choice(NamedTuple):
    """A parameter that is chosen by cross-validation where it is None."""

    param: str  # its name in the head
    classifier_param: str  # its name in the scikit-learn classifier
    grid: tuple[float, ...]  # the values to try, the smoothest classifier first, which therefore wins a tie
    fallback: float  # the value where no folds can be drawn


class SearchPart(NamedTuple):
    """Some values of a search, the ones from `first` to `stop`, in one of its folds."""

    first: int
    stop: int
    fold: int


def mean_scores(scores: Mapping[SearchPart, Sequence[float]]) -> list[float]:
    """Return the mean score over the folds for each value of a search, from the scores of all of its parts."""
    table = np.empty((max(part.stop for part in scores), max(part.fold for part in scores) + 1))
    for part, values in scores.items():
        table[part.first : part.stop, part.fold] = values
    return table.mean(axis=1).tolist()


def _classifier_has(method: str) -> Callable[[PipelineHead], bool]:
    return lambda head: hasattr(head.make_classifier(), method)


class PipelineHead(Head):
    """Pool, scale, classify; a subclass names the classifier and holds its parameters.

    Parameters
    ----------
    pool : {"avg", "max", "flatten"}
        See `Pool`. With `flatten`, memory holds all features as float32.
    class_weight : "balanced" or dict, optional
        Weights of the classes, as in scikit-learn. With "balanced", a search scores by balanced
        accuracy instead of accuracy.
    cv : int
        Folds of a search, stratified and shuffled; fewer where a class has fewer images. Features
        are scaled once before: their means and variances, for which no label is read, are those of
        all folds.
    n_jobs : int
        Threads of a search, which share the scaled features; -1 is one per core.
    random_state : int
        Seed of the folds and of the classifier.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        Fitted steps `pool`, `scale`, `classify`, from features to labels.
    search_ : list of dict
        Each value that a search tried, under the parameter's name, and its mean `score` over the
        folds. Not saved with the head.
    """

    choice: ClassVar[Choice | None] = None
    shares_folds: ClassVar[bool] = False  # True if all values of a search together take little longer than one
    # Peak memory of `fit` per thread in multiples of the scaled float32 features: copies of rows and solver's arrays.
    training_copies: ClassVar[int]
    pool: str
    class_weight: ClassWeight = None
    cv: int = 5
    n_jobs: int | None = 1
    random_state: int | None = 0

    def fit(self, X: Any, y: Any, groups: Any = None, images: Any = None, scores: Any = None) -> PipelineHead:
        """Train the head; a parameter out of range is a HeadError.

        Parameters
        ----------
        X : ndarray, `Rows` or `SharedFeatures` of shape (n, height, width, channels) or (n, d), any float
            May be a read-only memory map.
        y : ndarray of shape (n,)
            Labels, at least two different ones.
        groups : ndarray of shape (n,), optional
            Equal where rows belong together, such as images of one scene. No fold separates them.
        images : ndarray of shape (n,), optional
            Equal where rows are views of one image; the first of them is the image itself. No fold
            separates them, and a search scores on the images themselves.
        scores : list of float, optional
            The result of the search, `mean_scores` of all `search_parts`; without it `fit` does the search.
        """
        features, y = self._check_training_set(X, y)
        rows = check_groups(groups, images, y)
        scaler, scaled = features.scaled(self.pool)
        with _threads(self.name):
            classifier = self._train(self.make_classifier(), scaled, y, rows, scores)
        self.pipeline_ = Pipeline([("pool", Pool(self.pool)), ("scale", scaler), ("classify", classifier)])
        return self

    def search_parts(self, y: np.ndarray, groups: Any = None, images: Any = None) -> list[SearchPart]:
        """Divide the search of `fit` into parts, which other processes can score; none where nothing is searched."""
        with parameter_errors(self.name):
            grid, splits = self._plan_search(y, check_groups(groups, images, y))
        step = len(grid) if self.shares_folds else 1
        return [SearchPart(i, i + step, fold) for fold in range(len(splits)) for i in range(0, len(grid), step)]

    def score_part(self, X: Any, y: Any, part: SearchPart, groups: Any = None, images: Any = None) -> list[float]:
        """Return the score of each value of one part of the search of `fit`, which takes the same arguments."""
        features, y = self._check_training_set(X, y)
        rows, scaled = check_groups(groups, images, y), features.scaled(self.pool)[1]
        with _threads(self.name):
            grid, splits = self._plan_search(y, rows)
            return self._score(grid[part.first : part.stop], [splits[part.fold]], scaled, y)

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of each row, shape (n,)."""
        pooled = self._check_rows(X).pooled(self.pool)
        return self.pipeline_[1:].predict(pooled)

    @available_if(_classifier_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, shape (n, k), columns as in `classes_`."""
        pooled = self._check_rows(X).pooled(self.pool)
        return self.pipeline_[1:].predict_proba(pooled)

    @available_if(_classifier_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the score of each class, shape (n, k); with two classes that of the second, shape (n,)."""
        pooled = self._check_rows(X).pooled(self.pool)
        return self.pipeline_[1:].decision_function(pooled)

    def count_parameters(self) -> int:
        """Return how many numbers learned from the features a prediction needs.

        These are weights and intercepts, the scaler's means and scales, the rows and labels of a knn,
        the nodes of a forest.
        """
        check_is_fitted(self)
        scaler = self.pipeline_["scale"]
        return self._count(self.pipeline_["classify"]) + scaler.mean_.size + scaler.scale_.size

    @property
    def searches(self) -> bool:
        """Whether `fit` chooses a parameter by cross-validation."""
        return self.choice is not None and getattr(self, self.choice.param) is None

    def make_classifier(self) -> Any:
        """Make the scikit-learn classifier with the head's parameters; the searched one may be None."""
        raise NotImplementedError

    def _count(self, classifier: Any) -> int:
        return classifier.coef_.size + np.size(classifier.intercept_)

    def _plan_search(self, y: np.ndarray, rows: RowGroups) -> tuple[list[float], list[Split]]:
        """Return the values to try and the folds; both are empty if nothing is searched, or no folds can be drawn."""
        splits = make_folds(self.cv, y, rows, self.random_state) if self.searches else []
        if self.choice is None or not splits:
            return [], []
        return self._grid(self.choice, min(int(rows.is_image[train].sum()) for train, _ in splits)), splits

    def _train(self, classifier: Any, scaled: np.ndarray, y: np.ndarray, rows: RowGroups, scores: Any) -> Any:
        self.search_: list[dict[str, float]] = []
        if self.choice is not None and self.searches:
            grid, splits = self._plan_search(y, rows)
            if splits:
                scores = self._score(grid, splits, scaled, y) if scores is None else scores
                self.search_ = [{self.choice.param: v, "score": s} for v, s in zip(grid, scores, strict=True)]
                value = grid[int(np.argmax(scores))]
            else:
                value = self.choice.fallback
                logger.warning(
                    "%s: no two folds (cv=%s) have images of every class, so %s=%g is used without a search",
                    *(self.name, self.cv, self.choice.param, value),
                )
            classifier.set_params(**{self.choice.classifier_param: value})
        return self._fit(classifier, scaled, y, rows)

    def _score(self, grid: list[float], splits: list[Split], scaled: np.ndarray, y: np.ndarray) -> list[float]:
        assert self.choice is not None
        return self._score_grid(self.make_classifier(), self.choice.classifier_param, grid, splits, scaled, y)

    def _fit(self, classifier: Any, scaled: np.ndarray, y: np.ndarray, rows: RowGroups) -> Any:
        return classifier.fit(scaled, y)

    def _for_folds(self, classifier: Any, scaled: np.ndarray) -> Any:
        """Return what is fitted in the folds: the classifier, or one that finds the same in less time."""
        return classifier

    def _grid(self, choice: Choice, training_images: int) -> list[float]:
        return list(choice.grid)

    def _score_grid(
        self, classifier: Any, param: str, grid: list[float], splits: list[Split], scaled: np.ndarray, y: np.ndarray
    ) -> list[float]:
        """Return the mean score over the folds for each value of a grid."""
        search = GridSearchCV(
            self._for_folds(classifier, scaled),
            {param: grid},
            scoring="balanced_accuracy" if self.class_weight == "balanced" else "accuracy",
            cv=splits,
            n_jobs=self.n_jobs,
            error_score="raise",
            refit=False,
        )
        return search.fit(scaled, y).cv_results_["mean_test_score"].tolist()


@contextmanager
def _threads(name: str) -> Iterator[None]:
    """Let the fits of a head called `name` run in threads, and raise what they say about parameters as a HeadError.

    Classifiers run compiled code without the interpreter's lock: threads are as fast as processes and need no copy of
    the features. Numeric libraries with threads of their own in each are ten times slower on a busy machine.
    """
    with parameter_errors(name), joblib.parallel_config("threading"), threadpool_limits(1):
        yield
