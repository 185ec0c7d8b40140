"""The heads of a store: the scores saved with them, and what they say of the validation images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import HeadError, StoreMismatch
from pipeline.heads.files import load_head
from pipeline.heads.metrics import read_metrics
from pipeline.heads.sharing import SharedFeatures
from pipeline.store import FeatureStore

MOST_SCORED = 20_000  # validation images that heads are asked about; of more, a fixed random sample
BLOCK_BYTES = 64 << 20  # of features in memory

OnProgress = Callable[[str, int, int], None]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Scores:
    """What `metrics.json` says of a head; `None` where it says nothing.

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
    repeats : (mean, standard deviation, runs), optional
        Of the accuracy over several seeds.
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
    repeats: tuple[float, float, int] | None
    history: dict[str, list[float]] = field(default_factory=dict)


def saved_scores(store: FeatureStore) -> tuple[list[Scores], dict[str, str]]:
    """The scores of each saved head, the best accuracy first, and why the others have none, by name."""
    scores, problems = [], {}
    for directory in sorted(path for path in store.heads_directory.glob("*") if path.is_dir()):
        try:
            scores.append(_parsed(directory, store.classes))
        except HeadError as error:
            problems[directory.name] = str(error)
    return sorted(scores, key=lambda one: (-one.accuracy, one.name)), problems


def _parsed(directory: Path, classes: tuple[str, ...]) -> Scores:
    metrics = read_metrics(directory)
    if metrics is None:
        raise HeadError("no scores were saved with it")
    if metrics.get("classes") != list(classes):
        raise HeadError("it was trained on other classes than the store has now; train it again")
    try:
        return _scores(directory.name, metrics, len(classes))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise HeadError(f"its metrics.json is not as this version writes it ({error!r}); train it again") from None


def _scores(name: str, metrics: dict[str, Any], k: int) -> Scores:
    repeats, test = metrics.get("repeats"), metrics.get("test")
    confusion = np.array(metrics["confusion"], np.int64)
    if confusion.shape != (k, k) or len(metrics["per_class"]) != k:
        raise ValueError(f"a confusion matrix of shape {confusion.shape} for {k} classes")
    return Scores(
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
        repeats=(_number(repeats["mean"]), _number(repeats["std"]), len(repeats["seeds"])) if repeats else None,
        history={
            str(key): [math.nan if value is None else float(value) for value in values]
            for key, values in (metrics.get("history") or {}).items()
        },
    )


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


@dataclass
class Predictions:
    """What heads say of validation images.

    Attributes
    ----------
    members : ndarray of shape (n,), int64
        The images, as indices into `store.images`.
    y : ndarray of shape (n,)
        Their labels.
    of : int
        Validation images there are; more than n where a sample was taken.
    probabilities : dict of str to ndarray of shape (n, classes), float32
        By the head's name, for heads that give some.
    rankings : dict of str to ndarray of shape (n,), float32
        How sure a head is of the second of two classes, on any scale.
    problems : dict of str to str
        Why a head was not asked.
    """

    members: np.ndarray
    y: np.ndarray
    of: int
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)
    rankings: dict[str, np.ndarray] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def predict_validation(store: FeatureStore, names: list[str], on_progress: OnProgress) -> Predictions:
    """Ask heads about the validation images, all heads about a block of features at a time.

    Raises
    ------
    StoreDamaged
        A row of features is not what was written.
    """
    found = _chosen(store)
    heads = _load(store, names, found)
    labelled = len(found.members)
    for name, head in heads.items():
        if hasattr(head, "predict_proba"):
            found.probabilities[name] = np.zeros((labelled, len(store.classes)), np.float32)
        if len(store.classes) == len(head.classes_) == 2:
            found.rankings[name] = np.zeros(labelled, np.float32)
    step = max(1, BLOCK_BYTES // store.bytes_per_row)
    for start in range(0, labelled if heads else 0, step):
        part = slice(start, start + step)
        features = SharedFeatures(store.read_rows(store.index.rows[found.members[part]]))
        for name, head in heads.items():
            _predict(head, features, name, part, found)
        on_progress("rows", min(start + step, labelled), labelled)
    return found


def _chosen(store: FeatureStore) -> Predictions:
    members = store.members("validation")
    members = members[store.images.labels[members] >= 0]
    of = len(members)
    if of > MOST_SCORED:
        members = np.sort(np.random.default_rng(0).choice(members, MOST_SCORED, replace=False))
    return Predictions(members, store.images.labels[members], of)


def _load(store: FeatureStore, names: list[str], found: Predictions) -> dict[str, Any]:
    heads = {}
    for name in names:
        try:
            heads[name] = load_head(store.heads_directory / name, fingerprint=store.fingerprint)
        except (HeadError, StoreMismatch) as error:
            found.problems[name] = str(error)
    return heads


def _predict(head: Any, features: SharedFeatures, name: str, part: slice, found: Predictions) -> None:
    if name in found.probabilities:
        found.probabilities[name][part, head.classes_] = head.predict_proba(features)
    if name in found.rankings:
        if hasattr(head, "decision_function"):
            found.rankings[name][part] = head.decision_function(features)
        elif name in found.probabilities:
            found.rankings[name][part] = found.probabilities[name][part, 1]
        else:
            del found.rankings[name]
