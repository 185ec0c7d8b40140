"""Score a store on a subset of its images: train heads, and take the best one on the validation images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.comparison.paired import MISSING
from pipeline.comparison.records import Score
from pipeline.comparison.subset import Subset
from pipeline.defaults import MAX_BAD
from pipeline.errors import HeadError, StoreError, TooManyBadImages
from pipeline.extraction.callbacks import Callbacks
from pipeline.heads.rows_on_demand import ArrayRows
from pipeline.heads.shared_features import SharedFeatures
from pipeline.store import NO_ROW, FeatureStore
from pipeline.training.fit_and_score import Split, train_head
from pipeline.training.make_heads import make_heads
from pipeline.training.memory import check_memory, fits_in_memory
from pipeline.training.trained_head import TrainedHead


def score_store(
    store: FeatureStore, subset: Subset, heads: Sequence[str], callbacks: Callbacks, *, with_test: bool = False
) -> tuple[Score, Any]:
    """Train heads on the train images of a subset, and score them on its validation images.

    Returns
    -------
    Score, Head
        Of the best head; with `with_test` it is scored on the test images, too.

    Raises
    ------
    StoreError, TooManyBadImages
        The subset has no train or no validation images, one class, or too many images without features.
    HeadError
        No head could be trained.
    """
    names = ("train", "validation", *(("test",) if with_test else ()))
    rows = {name: _rows(store, subset, subset.of_split(name)) for name in names}
    _check(store, subset, rows)
    estimators = make_heads(heads, None)
    check_memory(store, estimators, 1)
    in_memory = "dense" in estimators and fits_in_memory(store, 1)
    splits = {name: _open(store, subset, name, found, in_memory) for name, found in rows.items()}
    trained, failures = _train(estimators, store, splits, callbacks)
    if not trained:
        raise HeadError("; ".join(failures))
    best = min(trained, key=TrainedHead.rank)
    outcomes = np.full(len(rows["validation"]), MISSING)
    is_right = best.head.predict(splits["validation"].X) == splits["validation"].y
    outcomes[rows["validation"] != NO_ROW] = is_right
    evaluation, test = best.evaluation, best.test_evaluation
    score = Score(
        head=best.name,
        accuracy=evaluation.accuracy,
        interval=evaluation.accuracy_interval,
        outcomes="".join(map(str, outcomes.tolist())),
        seconds=sum(head.fit_seconds for head in trained),
        test=None if test is None else (test.accuracy, test.accuracy_interval),
    )
    return score, best.head


def _rows(store: FeatureStore, subset: Subset, members: np.ndarray) -> np.ndarray:
    """Return the row of each image, `NO_ROW` if it has no features."""
    row_of, contents = store.rows_by_content(), subset.images.contents
    return np.array([row_of(contents[member].tobytes()) for member in members.tolist()], np.int64)


def _check(store: FeatureStore, subset: Subset, rows: dict[str, np.ndarray]) -> None:
    for name in ("train", "validation"):
        if not (rows[name] != NO_ROW).any():
            raise StoreError(f"there are no {name} images; add images, or assign the splits yourself")
    missing, total = sum(int((found == NO_ROW).sum()) for found in rows.values()), sum(map(len, rows.values()))
    if missing > MAX_BAD * total:
        raise TooManyBadImages(f"{missing} of {total} images cannot be used; repair or remove them")
    if len(np.unique(subset.images.labels[subset.of_split("train")])) < 2:
        raise StoreError("the train images are of one class; a head needs two")


def _open(store: FeatureStore, subset: Subset, name: str, rows: np.ndarray, in_memory: bool) -> Split:
    members, X = subset.of_split(name)[rows != NO_ROW], store.rows_on_demand(rows[rows != NO_ROW])
    shared = SharedFeatures(ArrayRows(X[:]) if in_memory else X)
    return Split(shared, subset.images.labels[members], subset.units[members])


def _train(
    heads: dict[str, Any], store: FeatureStore, splits: dict[str, Split], callbacks: Callbacks
) -> tuple[list[TrainedHead], list[str]]:
    trained, failures = [], []
    for name, head in heads.items():
        callbacks.head_started(name)
        try:
            trained.append(train_head(head, store, splits, 1, callbacks))
        except HeadError as error:
            failures.append(str(error))
            callbacks.head_failed(name, str(error))
    return trained, failures
