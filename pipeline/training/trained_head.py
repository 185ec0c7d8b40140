"""`TrainedHead`: a head with its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.evaluation import Evaluation, Repeats
from pipeline.store import FeatureStore


@dataclass(frozen=True)
class TrainedHead:
    """A trained head and its scores.

    Attributes
    ----------
    name : str
    head : Head or None
        The fitted estimator; None where only the scores were read.
    evaluation : Evaluation
        Scores on the validation images.
    test_evaluation : Evaluation or None
        Scores on the test images; None if the store has none.
    fit_seconds : float
        Seconds that training took.
    parameters : int
        Number of learned parameters.
    repeats : Repeats or None
        Accuracies of the other seeds; None unless they were requested.
    views : int
        Views of each train image that the head was trained on.
    history : dict of str to list of float
        Losses and accuracies of each epoch; empty for a head that is not trained in epochs.
    """

    name: str
    head: Any
    evaluation: Evaluation
    test_evaluation: Evaluation | None
    fit_seconds: float
    parameters: int
    repeats: Repeats | None = None
    views: int = 1
    history: dict[str, list[float]] = field(default_factory=dict)

    def rank(self) -> tuple[float, float, int, str]:
        """Return the key that sorts heads: best accuracy first, then best AUC, fewest parameters, name."""
        return -self.evaluation.accuracy, -(self.evaluation.auc or 0.0), self.parameters, self.name

    def metrics(self) -> dict[str, Any]:
        """Return the scores and everything else but the estimator, for JSON.

        `epoch_chosen_on` is "train" if the best epoch was chosen on held-out train images, "validation"
        if it was chosen on the validation images, whose scores are slightly optimistic then.
        """
        return {
            "head": self.name,
            **self.evaluation.to_json(),
            "test": self.test_evaluation and self.test_evaluation.to_json(),
            "epoch_chosen_on": getattr(self.head, "epoch_chosen_on_", None),
            "fit_seconds": round(self.fit_seconds, 3),
            "parameters": self.parameters,
            "repeats": self.repeats and self.repeats.to_json(),
            "views": self.views,
            "history": {  # JSON has no NaN
                name: [value if math.isfinite(value) else None for value in values]
                for name, values in self.history.items()
            },
        }

    @classmethod
    def from_metrics(cls, name: str, metrics: Mapping[str, Any]) -> TrainedHead:
        """Return the scores that `metrics` returned; a wrong value raises KeyError, TypeError or ValueError."""
        test, repeats, history = metrics.get("test"), metrics.get("repeats"), metrics.get("history") or {}
        if len({len(values) for values in history.values()}) > 1:
            raise ValueError("the losses and accuracies of the history differ in their number of epochs")
        return cls(
            name=name,
            head=None,
            evaluation=Evaluation.from_json(metrics),
            test_evaluation=Evaluation.from_json(test) if test else None,
            fit_seconds=float(metrics["fit_seconds"]),
            parameters=int(metrics["parameters"]),
            repeats=Repeats.from_json(repeats) if repeats else None,
            views=int(metrics.get("views", 1)),
            history={
                key: [math.nan if value is None else float(value) for value in values]
                for key, values in history.items()
            },
        )


def format_title(name: str, store: FeatureStore) -> str:
    """Return the heading of a plot or table that shows the scores of a head."""
    int8 = " in int8" if store.spec.precision == "int8" else ""
    random = ", RANDOM WEIGHTS" if store.random_weights else ""
    return f"{name} on {store.spec.name}{int8}{random}"
