"""The heads that bend: knn, forest, mlp."""

from __future__ import annotations

import logging
import warnings
from typing import ClassVar

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from pipeline.heads.grouping import first_rows
from pipeline.heads.pipelines import Choice, ClassWeight, PipelineHead

logger = logging.getLogger(__name__)

K_GRID = (50, 25, 15, 9, 5, 3, 1)
PATIENT_STEPS = 500


class KNNHead(PipelineHead):
    """The vote of the k nearest images in Euclidean distance; k is searched where it is None."""

    name = "knn"
    training_copies = 2
    choice: ClassVar[Choice] = Choice("k", "n_neighbors", K_GRID, fallback=1)

    def __init__(
        self,
        k: int | None = None,
        pool: str = "avg",
        cv: int = 5,
        n_jobs: int | None = -1,
        random_state: int | None = 0,
    ):
        self.k = k
        self.pool = pool
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _classifier(self) -> KNeighborsClassifier:
        # Brute force wins above some 15 dimensions, and a tree could not be saved without pickle.
        return KNeighborsClassifier(int(self.choice.fallback) if self.k is None else self.k, algorithm="brute")

    def _count(self, classifier: KNeighborsClassifier) -> int:
        return classifier._fit_X.size + classifier._y.size

    def _grid(self, choice: Choice, training_rows: int) -> list[float]:
        return [k for k in choice.grid if k <= training_rows]


class ForestHead(PipelineHead):
    """A random forest; `n_jobs` are its threads.

    Scaling changes nothing for a tree; it is there so that all heads share the same numbers.
    """

    name = "forest"
    training_copies = 0

    def __init__(
        self,
        n_estimators: int = 200,
        max_depth: int | None = None,
        min_samples_leaf: int = 1,
        pool: str = "avg",
        class_weight: ClassWeight = None,
        n_jobs: int | None = -1,
        random_state: int | None = 0,
    ):
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.min_samples_leaf = min_samples_leaf
        self.pool = pool
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _classifier(self) -> RandomForestClassifier:
        return RandomForestClassifier(
            n_estimators=self.n_estimators,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            class_weight=self.class_weight,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
        )

    def _count(self, classifier: RandomForestClassifier) -> int:
        return sum(tree.tree_.node_count for tree in classifier.estimators_)


class MLPHead(PipelineHead):
    """scikit-learn's multi-layer perceptron, stopped when a held-out tenth no longer improves."""

    name = "mlp"
    training_copies = 1

    def __init__(
        self,
        units: tuple[int, ...] = (100,),
        alpha: float = 1e-4,
        learning_rate: float = 1e-3,
        epochs: int = 200,
        batch_size: int = 32,
        pool: str = "avg",
        random_state: int | None = 0,
    ):
        self.units = units
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.pool = pool
        self.random_state = random_state

    def _classifier(self) -> MLPClassifier:
        return MLPClassifier(
            hidden_layer_sizes=self.units,
            alpha=self.alpha,
            learning_rate_init=self.learning_rate,
            max_iter=self.epochs,
            early_stopping=True,
            random_state=self.random_state,
        )

    def _count(self, classifier: MLPClassifier) -> int:
        return sum(numbers.size for numbers in [*classifier.coefs_, *classifier.intercepts_])

    def _train(
        self, classifier: MLPClassifier, scaled: np.ndarray, y: np.ndarray, groups: np.ndarray | None
    ) -> MLPClassifier:
        images = y[first_rows(groups, len(y))]
        counts = np.unique(images, return_counts=True)[1]
        if counts.min() < 2 or len(images) < 10 * len(counts):
            logger.warning("mlp: %d images are too few to hold a tenth out, so all epochs are run", len(images))
            classifier.set_params(early_stopping=False)
        batch_size = min(self.batch_size, len(y) * 9 // 10)
        # Ten epochs of a small set are too few steps to call a halt.
        patience = max(10, PATIENT_STEPS * batch_size // len(y))
        classifier.set_params(batch_size=batch_size, n_iter_no_change=patience)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `epochs` is a budget, not an accident
            trained = super()._train(classifier, scaled, y, groups)
        # Adam's moments: two thirds of the file, of use only to go on training, and no type to trust in a file.
        vars(trained).pop("_optimizer", None)
        return trained

    def _fit(
        self, classifier: MLPClassifier, scaled: np.ndarray, y: np.ndarray, groups: np.ndarray | None
    ) -> MLPClassifier:
        if groups is None or not classifier.early_stopping:
            return classifier.fit(scaled, y)
        return self._fit_until_images_gain_nothing(classifier, scaled, y, groups)

    def _fit_until_images_gain_nothing(
        self, classifier: MLPClassifier, scaled: np.ndarray, y: np.ndarray, groups: np.ndarray
    ) -> MLPClassifier:
        """The early stopping of scikit-learn, which would hold out rows whose images it trains on in other views."""
        params = classifier.get_params()
        images = first_rows(groups, len(y))
        train, held_out = train_test_split(
            images, test_size=classifier.validation_fraction, stratify=y[images], random_state=self.random_state
        )
        rows = np.isin(groups, groups[train])
        X, labels = scaled[rows], y[rows]
        random = np.random.RandomState(self.random_state)  # scikit-learn takes no other; goes on
        classifier.set_params(early_stopping=False, random_state=random)
        best, waited, weights = -np.inf, 0, []
        for _ in range(self.epochs):
            classifier.partial_fit(X, labels, classes=self.classes_)
            score = classifier.score(scaled[held_out], y[held_out])
            waited = 0 if score >= best + params["tol"] else waited + 1
            if score > best:
                best, weights = score, [w.copy() for w in (*classifier.coefs_, *classifier.intercepts_)]
            if waited > params["n_iter_no_change"]:
                break
        half = len(weights) // 2
        classifier.coefs_, classifier.intercepts_ = weights[:half], weights[half:]
        return classifier.set_params(**params)
