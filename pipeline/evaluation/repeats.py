"""The spread of a head's accuracy over several random seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Heads that use random numbers only for the folds of their hyperparameter search.
RANDOM_ONLY_IN_SEARCH = ("logistic", "knn")


@dataclass(frozen=True)
class Repeats:
    """Validation accuracies of a head that was trained once per seed.

    The head of the first seed is the one that is saved: the best seed would be chosen on the images
    that it is scored on.
    """

    seeds: tuple[int | None, ...]  # None is an unseeded training; empty if the head does not depend on the seed
    accuracies: tuple[float, ...]  # of each seed; a single one if `seeds` is empty

    def to_json(self) -> dict[str, Any]:
        """Return seeds, accuracies and their `mean`, `std` (n - 1 degrees of freedom), `min` and `max`."""
        return {
            "seeds": list(self.seeds),
            "accuracies": list(self.accuracies),
            "mean": float(np.mean(self.accuracies)),
            "std": float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else 0.0,
            "min": min(self.accuracies),
            "max": max(self.accuracies),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Repeats:
        """Read the result of `to_json`; a KeyError, TypeError or ValueError says that it is none."""
        seeds, accuracies = tuple(document["seeds"]), tuple(map(float, document["accuracies"]))
        if len(accuracies) != max(1, len(seeds)):
            raise ValueError(f"{len(accuracies)} accuracies for {len(seeds)} seeds")
        return cls(seeds, accuracies)

    def __str__(self) -> str:
        """Format mean, standard deviation and range: `0.8487 ± 0.0178 (0.830-0.865)`."""
        if len(self.seeds) < 2:
            return "no spread"
        return "{mean:.4f} ± {std:.4f} ({min:.3f}-{max:.3f})".format(**self.to_json())


def seeds_of(head: Any, repeats: int) -> Sequence[int | None]:
    """Return the seeds to train a head with, its `random_state` and the ones after it; none if it ignores them."""
    params = head.get_params()
    if "random_state" not in params or (head.name in RANDOM_ONLY_IN_SEARCH and not head.searches):
        return ()
    first = params["random_state"]
    return [None] * repeats if first is None else range(first, first + repeats)
