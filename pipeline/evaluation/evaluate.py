"""How good a head is: its predictions on labelled features, as an `Evaluation`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import HeadError
from pipeline.evaluation.bootstrap import AUC, Interval, Statistic, accuracy_of, bootstrap_intervals

CONFUSION_CLASSES = 12  # more than fit on a screen are left to Evaluation.confusion


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of a head on n rows.

    Attributes
    ----------
    accuracy : float
        Share of right labels.
    balanced_accuracy : float
        Mean recall of the classes that occur.
    auc : float or None
        Area under the ROC curve; of two classes that both occur, where the head has scores.
    n : int
        Rows.
    classes : tuple of str
        Names, in the order of `per_class` and `confusion`.
    per_class : list of dict
        `class`, `precision`, `recall`, `f1`, `n` of each class; 0 where it is not defined.
    confusion : ndarray of shape (k, k), int
        Rows are true classes, columns predicted ones.
    accuracy_interval, auc_interval : (float, float) or None
        95 % percentile bootstrap intervals, see `bootstrap_intervals`: how far the score may be from the
        one on other images of the kind. They know of no other training set, nor of another seed.
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
        """The report in numbers, strings and lists."""
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": self.accuracy_interval and list(self.accuracy_interval),
            "balanced_accuracy": self.balanced_accuracy,
            "auc": self.auc,
            "auc_interval": self.auc_interval and list(self.auc_interval),
            "n": self.n,
            "classes": list(self.classes),
            "per_class": [dict(row) for row in self.per_class],
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        accuracy = with_interval(self.accuracy, self.accuracy_interval)
        auc = "" if self.auc is None else f", AUC {with_interval(self.auc, self.auc_interval)}"
        head = f"{self.n:,} images: accuracy {accuracy}, balanced {self.balanced_accuracy:.4f}{auc}"
        scores = [
            (row["class"], *(f"{row[score]:.4f}" for score in ("precision", "recall", "f1")), f"{row['n']:,}")
            for row in self.per_class
        ]
        lines = [head, *_table([("class", "precision", "recall", "f1", "images"), *scores])]
        if len(self.classes) <= CONFUSION_CLASSES:
            counts = [(name, *map(str, row)) for name, row in zip(self.classes, self.confusion, strict=True)]
            lines += _table([("true \\ predicted", *self.classes), *counts])
        return "\n".join(lines)


def rank(name: str, accuracy: float, auc: float | None, parameters: int) -> tuple[float, float, int, str]:
    """What heads are sorted by: accuracy, then AUC, the best first; then the fewest parameters, then the name."""
    return -accuracy, -(auc or 0.0), parameters, name


def evaluate(
    head: Any,
    X: Any,
    y: np.ndarray,
    classes: Sequence[str] | None = None,
    groups: np.ndarray | None = None,
) -> Evaluation:
    """Score a trained head.

    Parameters
    ----------
    head : classifier
        Any trained one of scikit-learn's contract.
    X : ndarray, `Rows` or `SharedFeatures` of shape (n, ...), any float
        Features.
    y : ndarray of shape (n,)
        Labels. Where `classes` are known they are numbers of them; a class that is missing here,
        or was missing in training, keeps its number.
    classes : sequence of str, optional
        All class names; `head.class_names_` if it has them, otherwise the labels themselves.
    groups : ndarray of shape (n,), optional
        Rows of one value are one image several times: for the intervals they are drawn together.

    Raises
    ------
    HeadError
        There is nothing to score on, or a label is no number of `classes`.
    """
    y = np.asarray(y)
    if not len(y):
        raise HeadError("there are no rows to score the head on")
    classes = getattr(head, "class_names_", None) if classes is None else classes
    labels = np.union1d(head.classes_, y) if classes is None else np.arange(len(classes))
    names = tuple(str(name) for name in (labels if classes is None else classes))
    stray = np.setdiff1d(np.union1d(head.classes_, y), labels)
    if len(stray):
        raise HeadError(f"labels {stray.tolist()} are not numbers of the {len(names)} classes (0 is the first)")
    predicted = head.predict(X)
    confusion, per_class = _per_class(y, predicted, labels, names)
    scores = _scores(head, X, y, labels)
    statistics: list[Statistic] = [accuracy_of(predicted == y)]
    statistics += [] if scores is None else [AUC(scores, y == labels[1])]
    intervals = [*bootstrap_intervals(statistics, len(y), groups=groups), None]
    return Evaluation(
        accuracy=float(np.trace(confusion) / len(y)),
        # balanced_accuracy_score warns of a class that is predicted and does not occur.
        balanced_accuracy=float(np.mean([row["recall"] for row in per_class if row["n"]])),
        auc=None if scores is None else _auc(y == labels[1], scores),
        n=len(y),
        classes=names,
        per_class=per_class,
        confusion=confusion,
        accuracy_interval=intervals[0],
        auc_interval=intervals[1],
    )


def with_interval(score: float, interval: Sequence[float] | None) -> str:
    """A score for a person: `0.9707 [0.958, 0.981]`."""
    return f"{score:.4f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def _per_class(
    y: np.ndarray, predicted: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    scores = precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0)
    rows = [
        {"class": name, "precision": float(precision), "recall": float(recall), "f1": float(f1), "n": int(n)}
        for name, precision, recall, f1, n in zip(names, *scores, strict=True)
    ]
    return confusion_matrix(y, predicted, labels=labels), rows


def _scores(head: Any, X: Any, y: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """How sure the head is of the second of two classes; None where there is no ROC curve."""
    if not len(labels) == len(head.classes_) == len(np.unique(y)) == 2:
        return None
    if hasattr(head, "decision_function"):
        return np.asarray(head.decision_function(X))
    return np.asarray(head.predict_proba(X))[:, 1] if hasattr(head, "predict_proba") else None


def _auc(positive: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores))


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of text in columns, the first to the left, the others to the right."""
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))])
        for name, *cells in rows
    ]
