"""A trained head and what it is worth, and how it is kept below its store."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation import Evaluation, Repeats
from pipeline.evaluation.plots import save_plots
from pipeline.heads.files import save_head
from pipeline.store import FeatureStore
from pipeline.training.saved_heads import data_digest


@dataclass(frozen=True)
class TrainedHead:
    """A fitted head and what it is worth.

    Attributes
    ----------
    name : str
    head : estimator
    evaluation : Evaluation
        On the validation images.
    test_evaluation : Evaluation, optional
        On the test images, if there are any.
    fit_seconds : float
    parameters : int
        Learned numbers.
    repeats : Repeats, optional
        The accuracies of other seeds, if they were asked for.
    views : int
        Views of each train image that it was trained on.
    """

    name: str
    head: Any
    evaluation: Evaluation
    test_evaluation: Evaluation | None
    fit_seconds: float
    parameters: int
    repeats: Repeats | None = None
    views: int = 1

    def metrics(self) -> dict[str, Any]:
        """All of it but the head, for JSON."""
        return {
            "head": self.name,
            **self.evaluation.to_json(),
            "test": self.test_evaluation and self.test_evaluation.to_json(),
            "fit_seconds": round(self.fit_seconds, 3),
            "parameters": self.parameters,
            "repeats": self.repeats and self.repeats.to_json(),
            "views": self.views,
        }


def save_trained(trained: TrainedHead, store: FeatureStore, train_images: int) -> None:
    """Save a head below the store, with its metrics and plots."""
    directory = store.heads_directory / trained.name
    about = {
        "random_weights": store.random_weights,
        "data_sha256": data_digest(store),
        "train_images": train_images,
        "history": _history(trained.head),
    }
    save_head(
        trained.head,
        directory,
        classes=store.classes,
        fingerprint=store.fingerprint,
        metrics={**trained.metrics(), **about},
    )
    history = getattr(trained.head, "history_", None)
    save_plots(trained.evaluation, history, directory, title=title_of(trained.name, store))


def _history(head: Any) -> dict[str, list[float | None]] | None:
    """Losses and accuracies, a value an epoch; None where one is not finite, for which JSON has no word."""
    history = getattr(head, "history_", None)
    return history and {
        name: [float(value) if math.isfinite(value) else None for value in values] for name, values in history.items()
    }


def title_of(name: str, store: FeatureStore) -> str:
    """The heading of anything that shows a head's scores."""
    random = ", RANDOM WEIGHTS" if store.random_weights else ""
    return f"{name} on {store.manifest.spec['conv_base']}{random}"
