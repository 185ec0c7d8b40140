"""`evaluate`: the scores of a head on labelled features, as an `Evaluation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.errors import HeadError
from pipeline.evaluation.bootstrap import AUC, Interval, Statistic, accuracy_of, bootstrap_intervals

SCORES = ("precision", "recall", "f1")  # of each class
MAX_CLASSES_PRINTED = 12  # a larger confusion matrix does not fit on a screen


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of a head on n images.

    Attributes
    ----------
    accuracy : float
        Share of images whose predicted class is the true one.
    balanced_accuracy : float
        Mean recall of the classes that occur.
    auc : float or None
        Area under the ROC curve. None unless there are two classes, both of them occur, and the head
        has probabilities or a decision function.
    n : int
        Number of images.
    classes : tuple of str
        Class names, in the order of `per_class` and `confusion`.
    per_class : list of dict
        `class`, `precision`, `recall`, `f1` and `n` of each class; a score that is not defined is 0.
    confusion : ndarray of shape (k, k), int
        Numbers of images; rows are true classes, columns are predicted classes.
    accuracy_interval, auc_interval : (float, float) or None
        95 % percentile bootstrap intervals, see `bootstrap_intervals`. They estimate how the scores
        vary over other images of the same kind, not over other training sets or seeds.
    """

    accuracy: float
    balanced_accuracy: float
    auc: float | None
    n: int
    classes: tuple[str, ...]
    per_class: list[dict[str, Any]]
    confusion: np.ndarray
    accuracy_interval: Interval | None = None
    auc_interval: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all attributes as numbers, strings, lists and tuples."""
        return {**asdict(self), "confusion": self.confusion.tolist()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation that `to_json` was called on.

        Raises
        ------
        KeyError, TypeError, ValueError
            A value is missing, of another type, or no score.
        """
        k, confusion = len(document["classes"]), np.array(document["confusion"], np.int64)
        if confusion.shape != (k, k) or len(document["per_class"]) != k:
            raise ValueError(f"a confusion matrix of shape {confusion.shape} for {k} classes")
        auc, accuracy_interval, auc_interval = map(document.get, ("auc", "accuracy_interval", "auc_interval"))
        return cls(
            accuracy=_parse_score(document["accuracy"]),
            balanced_accuracy=_parse_score(document["balanced_accuracy"]),
            auc=None if auc is None else _parse_score(auc),
            n=int(document["n"]),
            classes=tuple(document["classes"]),
            per_class=[
                {"class": row["class"], **{score: _parse_score(row[score]) for score in SCORES}, "n": int(row["n"])}
                for row in document["per_class"]
            ],
            confusion=confusion,
            accuracy_interval=accuracy_interval and _parse_interval(*accuracy_interval),
            auc_interval=auc_interval and _parse_interval(*auc_interval),
        )

    def __str__(self) -> str:
        accuracy = with_interval(self.accuracy, self.accuracy_interval)
        auc = "" if self.auc is None else f", AUC {with_interval(self.auc, self.auc_interval)}"
        rows = [["class", "precision", "recall", "f1", "images"]]
        for row in self.per_class:
            rows.append([row["class"], *(f"{row[score]:.4f}" for score in SCORES), f"{row['n']:,}"])
        lines = [f"{self.n:,} images: accuracy {accuracy}, balanced {self.balanced_accuracy:.4f}{auc}", *_align(rows)]
        if len(self.classes) <= MAX_CLASSES_PRINTED:
            counts = [[name, *map(str, row)] for name, row in zip(self.classes, self.confusion, strict=True)]
            lines += _align([["true \\ predicted", *self.classes], *counts])
        return "\n".join(lines)


def evaluate(
    head: Any,
    X: Any,
    y: np.ndarray,
    classes: Sequence[str] | None = None,
    groups: np.ndarray | None = None,
) -> Evaluation:
    """Score a trained head on labelled features.

    Parameters
    ----------
    head : classifier
        A fitted classifier with scikit-learn's methods.
    X : ndarray, `Rows` or `SharedFeatures` of shape (n, ...), any float
        Features.
    y : ndarray of shape (n,)
        True labels. If there are class names, the labels are indices into them; a class that does not
        occur in `y` or did not occur in training keeps its index.
    classes : sequence of str, optional
        Names of all classes. By default `head.class_names_`, or the labels themselves if the head has no names.
    groups : ndarray of shape (n,), optional
        Rows with the same value are drawn together when the intervals are computed, such as equal images.

    Raises
    ------
    HeadError
        There are no rows, or a label is not an index into `classes`.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

    y = np.asarray(y)
    if not len(y):
        raise HeadError("there are no rows to score the head on")
    classes = getattr(head, "class_names_", None) if classes is None else classes
    labels = np.union1d(head.classes_, y) if classes is None else np.arange(len(classes))
    names = tuple(str(name) for name in (labels if classes is None else classes))
    unknown = np.setdiff1d(np.union1d(head.classes_, y), labels)
    if len(unknown):
        raise HeadError(f"labels {unknown.tolist()} are not indices of the {len(names)} classes (the first is 0)")
    predicted = head.predict(X)
    class_scores = precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0)
    per_class = [
        {"class": name, "precision": float(precision), "recall": float(recall), "f1": float(f1), "n": int(n)}
        for name, precision, recall, f1, n in zip(names, *class_scores, strict=True)
    ]
    scores = _positive_scores(head, X, y, labels)
    statistics: list[Statistic] = [accuracy_of(predicted == y)]
    if scores is not None:
        statistics.append(AUC(scores, y == labels[1]))
    intervals = [*bootstrap_intervals(statistics, len(y), groups=groups), None]
    return Evaluation(
        accuracy=float(np.mean(predicted == y)),
        # balanced_accuracy_score warns about a class that is predicted and does not occur.
        balanced_accuracy=float(np.mean([row["recall"] for row in per_class if row["n"]])),
        auc=None if scores is None else float(roc_auc_score(y == labels[1], scores)),
        n=len(y),
        classes=names,
        per_class=per_class,
        confusion=confusion_matrix(y, predicted, labels=labels),
        accuracy_interval=intervals[0],
        auc_interval=intervals[1],
    )


def _parse_score(value: Any) -> float:
    score = float(value)
    if not 0 <= score <= 1:
        raise ValueError(f"{value!r} is no score from 0 to 1")
    return score


def _parse_interval(low: Any, high: Any) -> Interval:
    return _parse_score(low), _parse_score(high)


def with_interval(score: float, interval: Sequence[float] | None) -> str:
    """Format a score with its interval: `0.9707 [0.958, 0.981]`."""
    return f"{score:.4f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def _positive_scores(head: Any, X: Any, y: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """Return the scores of the second of two classes; None if a ROC curve is not defined."""
    if not len(labels) == len(head.classes_) == len(np.unique(y)) == 2:
        return None
    if hasattr(head, "decision_function"):
        return np.asarray(head.decision_function(X))
    return np.asarray(head.predict_proba(X))[:, 1] if hasattr(head, "predict_proba") else None


def _align(rows: list[list[str]]) -> list[str]:
    """Align rows of text in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
