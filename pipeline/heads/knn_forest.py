"""The heads on neighbours and trees: knn, forest."""

from dataclasses import dataclass
from typing import Any, ClassVar

import joblib
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from pipeline.heads.folds import RowGroups, Split
from pipeline.heads.head import ClassWeight
from pipeline.heads.pipeline_head import Choice, PipelineHead


@dataclass(eq=False, repr=False)
class KNNHead(PipelineHead):
    """The vote of the k nearest images in Euclidean distance; k is searched where it is None."""

    name = "knn"
    training_copies = 2
    shares_folds = True
    choice: ClassVar[Choice] = Choice("k", "n_neighbors", (50, 25, 15, 9, 5, 3, 1), fallback=1)

    k: int | None = None
    pool: str = "avg"
    cv: int = 5
    n_jobs: int | None = -1
    random_state: int | None = 0

    def make_classifier(self) -> KNeighborsClassifier:
        """See `PipelineHead`."""
        # Brute force is faster above about 15 dimensions, and a tree could not be saved without pickle.
        return KNeighborsClassifier(self.k, algorithm="brute")

    def _count(self, classifier: KNeighborsClassifier) -> int:
        return classifier._fit_X.size + classifier._y.size

    def _fit(self, classifier: Any, scaled: np.ndarray, y: np.ndarray, rows: RowGroups) -> KNeighborsClassifier:
        if classifier.n_neighbors > len(y):  # scikit-learn says it in `predict`
            raise ValueError(f"k={classifier.n_neighbors} is more than the {len(y)} rows to train on")
        return super()._fit(classifier, scaled, y, rows)

    def _grid(self, choice: Choice, training_images: int) -> list[float]:
        return [k for k in choice.grid if k <= training_images]

    def _score_grid(
        self, classifier: Any, param: str, grid: list[float], splits: list[Split], scaled: np.ndarray, y: np.ndarray
    ) -> list[float]:
        codes, accuracies = np.searchsorted(self.classes_, y), np.zeros((len(grid), len(splits)))
        for fold, (train, test) in enumerate(splits):
            nearest = NearestNeighbors(n_neighbors=int(max(grid)), algorithm="brute").fit(scaled[train])
            votes = codes[train][find_neighbours(nearest, scaled[test], self.n_jobs)]  # (rows, k), the nearest first
            accuracies[:, fold] = [np.mean(count_votes(votes[:, : int(k)]) == codes[test]) for k in grid]
        return accuracies.mean(axis=1).tolist()


def find_neighbours(nearest: NearestNeighbors, X: np.ndarray, n_jobs: int | None) -> np.ndarray:
    """Return the numbers of the neighbours of each row of X, the nearest first, found by `n_jobs` threads."""
    blocks = np.array_split(X, min(len(X), joblib.effective_n_jobs(n_jobs)))
    find = joblib.delayed(nearest.kneighbors)
    return np.concatenate(joblib.Parallel(n_jobs)(find(block, return_distance=False) for block in blocks))


def count_votes(votes: np.ndarray) -> np.ndarray:
    """Return the most frequent number in each row of (n, k), the smallest of several, as scikit-learn does."""
    n, classes = len(votes), int(votes.max()) + 1
    counts = np.bincount((votes + classes * np.arange(n)[:, None]).ravel(), minlength=n * classes)
    return counts.reshape(n, classes).argmax(axis=1)


@dataclass(eq=False, repr=False)
class ForestHead(PipelineHead):
    """A random forest; `n_jobs` is the number of its threads.

    Trees do not need scaled features; they take them so that all heads share the same array.
    """

    name = "forest"
    training_copies = 0

    n_estimators: int = 200
    max_depth: int | None = None
    min_samples_leaf: int = 1
    pool: str = "avg"
    class_weight: ClassWeight = None
    n_jobs: int | None = -1
    random_state: int | None = 0

    def make_classifier(self) -> RandomForestClassifier:
        """See `PipelineHead`."""
        params = self.get_params()
        del params["pool"]
        return RandomForestClassifier(**params)

    def _count(self, classifier: RandomForestClassifier) -> int:
        return sum(tree.tree_.node_count for tree in classifier.estimators_)
