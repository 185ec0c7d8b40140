"""The heads saved below a store, and whether their scores are of the images it holds now.

Read without loading a head, or anything heavy.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import HeadError
from pipeline.evaluation import Repeats, rank
from pipeline.files.durable import read_json, sha256_of
from pipeline.heads.metrics import METRICS, RECORD, read_metrics
from pipeline.store import FeatureStore

logger = logging.getLogger(__name__)
Interval = tuple[float, float]

OTHER_CLASSES = "trained on other classes than the store has now"
OTHER_IMAGES = "scored on other images, labels or splits than the store holds now"


@dataclass(frozen=True)
class SavedEvaluation:
    """What `metrics.json` says of a head, checked; `None` where it says nothing.

    Attributes
    ----------
    name : str
        The head's directory.
    accuracy, balanced : float
    accuracy_interval, auc_interval : (float, float), optional
    auc, test_accuracy : float, optional
    n : int
        Validation images it was scored on.
    confusion : ndarray of shape (k, k), int64
        Rows are true classes.
    per_class : list of (precision, recall, f1, n)
    seconds : float
    parameters : int
    repeats : Repeats, optional
    history : dict of str to list of float
        A value an epoch; NaN where one was not finite.
    """

    name: str
    accuracy: float
    balanced: float
    accuracy_interval: Interval | None
    auc: float | None
    auc_interval: Interval | None
    test_accuracy: float | None
    n: int
    confusion: np.ndarray
    per_class: list[tuple[float, float, float, int]]
    seconds: float
    parameters: int
    repeats: Repeats | None
    history: dict[str, list[float]] = field(default_factory=dict)


class SavedHead(NamedTuple):
    """A head below a store.

    Attributes
    ----------
    name : str
    scores : SavedEvaluation, optional
        If they are of this store's features and classes.
    metrics : dict
        All of `metrics.json` then, and empty otherwise.
    problem : str, optional
        Why it is not to be compared with others as it is.
    """

    name: str
    scores: SavedEvaluation | None
    metrics: dict[str, Any]
    problem: str | None = None


def saved_heads(store: FeatureStore) -> list[SavedHead]:
    """All heads of a store, the best first, those with a problem after the others; see `pipeline.evaluation.rank`."""
    digest = data_digest(store)
    heads = [_saved_head(path.parent.name, store, digest) for path in store.heads_directory.glob(f"*/{RECORD}")]
    return sorted(heads, key=_rank)


def choose_head(store: FeatureStore, name: str | None = None, among: Sequence[str] | None = None) -> SavedHead:
    """The saved head to use: the one called `name`, or the best of them.

    Parameters
    ----------
    store : FeatureStore
    name : str, optional
    among : sequence of str, optional
        The names to choose from, where not all will do.

    Raises
    ------
    HeadError
        There is no such head, or none to choose from.

    Notes
    -----
    A head whose scores are of other images is chosen only where there is no other, and one of other
    classes after that.
    """
    saved = saved_heads(store)
    if name is not None:
        fit = [head for head in saved if head.name == name]
    else:
        fit = [head for head in saved if head.scores and (among is None or head.name in among)]
        fit = fit or [head for head in saved if head.problem == OTHER_CLASSES and among is None]
    if not fit:
        there = ", ".join(sorted(head.name for head in saved)) or "none"
        wanted = (
            f"head {name!r} is saved" if name else f"trained head for this store, of {', '.join(among or ['any'])},"
        )
        raise HeadError(f"no {wanted} in {store.heads_directory}; there are {there}; {train_it(store)}")
    if fit[0].problem:
        logger.warning("%s in %s: %s; %s", fit[0].name, store.heads_directory, fit[0].problem, train_it(store))
    return fit[0]


def _rank(head: SavedHead) -> tuple[Any, ...]:
    scores = head.scores
    if scores is None:
        return True, True, head.name
    return head.problem is not None, False, *rank(head.name, scores.accuracy, scores.auc, scores.parameters)


def train_it(store: FeatureStore) -> str:
    """What to do where a head is missing or not of the store as it is."""
    return f"train it with `python -m pipeline heads {store.directory}`"


def data_digest(store: FeatureStore) -> str:
    """The sha256 of what heads are trained and scored on: the images with features, their labels and splits.

    It depends neither on their order nor on their names.
    """
    images, members = store.images, store.members()
    labels, splits = images.labels[members, None], images.split_codes[members, None]
    rows = np.hstack([images.contents[members], labels.view(np.uint8), splits.view(np.uint8)])
    return sha256_of(np.sort(rows.view(f"S{rows.shape[1]}"), axis=0).tobytes() + repr(store.classes).encode())


def _saved_head(name: str, store: FeatureStore, digest: str) -> SavedHead:
    try:
        metrics = _metrics(store.heads_directory / name, store)
        scores = _scores(name, metrics, len(store.classes))
    except HeadError as error:
        return SavedHead(name, None, {}, str(error))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        return SavedHead(name, None, {}, f"its {METRICS} is not as this version writes it ({error!r})")
    return SavedHead(name, scores, metrics, None if metrics.get("data_sha256") == digest else OTHER_IMAGES)


def _metrics(directory: Path, store: FeatureStore) -> dict[str, Any]:
    metrics = read_metrics(directory)
    if read_json(directory / RECORD).get("fingerprint") != store.fingerprint:
        raise HeadError("trained on other features than the store holds now")
    if metrics is None:
        raise HeadError("saved without scores")
    if metrics.get("classes") != list(store.classes):
        raise HeadError(OTHER_CLASSES)
    return metrics


def _scores(name: str, metrics: dict[str, Any], k: int) -> SavedEvaluation:
    repeats, test = metrics.get("repeats"), metrics.get("test")
    confusion = np.array(metrics["confusion"], np.int64)
    if confusion.shape != (k, k) or len(metrics["per_class"]) != k:
        raise ValueError(f"a confusion matrix of shape {confusion.shape} for {k} classes")
    return SavedEvaluation(
        name=name,
        accuracy=_number(metrics["accuracy"]),
        balanced=_number(metrics["balanced_accuracy"]),
        accuracy_interval=_interval(metrics.get("accuracy_interval")),
        auc=None if metrics.get("auc") is None else _number(metrics["auc"]),
        auc_interval=_interval(metrics.get("auc_interval")),
        test_accuracy=_number(test["accuracy"]) if test else None,
        n=int(metrics["n"]),
        confusion=confusion,
        per_class=[
            (_number(row["precision"]), _number(row["recall"]), _number(row["f1"]), int(row["n"]))
            for row in metrics["per_class"]
        ],
        seconds=_number(metrics["fit_seconds"]),
        parameters=int(metrics["parameters"]),
        repeats=Repeats.from_json(repeats) if repeats else None,
        history=_history(metrics.get("history") or {}),
    )


def _history(history: dict[str, list[float | None]]) -> dict[str, list[float]]:
    found = {
        key: [math.nan if value is None else _number(value) for value in values] for key, values in history.items()
    }
    if len({len(values) for values in found.values()}) > 1:
        raise ValueError("a history whose scores have not the same number of epochs")
    return found


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no score")
    return number


def _interval(value: Any) -> Interval | None:
    if value is None:
        return None
    low, high = value
    return _number(low), _number(high)
