"""How much a head's accuracy hangs on the seed that it was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SEEDLESS = ("logistic", "knn")  # draw no random numbers themselves; their search for a parameter draws its folds


@dataclass(frozen=True)
class Repeats:
    """The scores of one head trained several times, with one seed after the other.

    Attributes
    ----------
    seeds : tuple of int or None
        Empty where no seed changes anything; None for a random one. The first is that of the head which
        is kept: the best one would be chosen on the very images that it is scored on.
    accuracies : tuple of float
        Of each seed, or the one of all, on the validation images.
    """

    seeds: tuple[int | None, ...]
    accuracies: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Seeds, accuracies, and their `mean`, `std` (with n - 1; 0 of a single one), `min`, `max`."""
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
        """What `to_json` made.

        Raises
        ------
        KeyError, TypeError, ValueError
            It did not make it.
        """
        seeds, accuracies = tuple(document["seeds"]), tuple(map(float, document["accuracies"]))
        if len(accuracies) != max(1, len(seeds)):
            raise ValueError(f"{len(accuracies)} accuracies of {len(seeds)} seeds")
        return cls(seeds, accuracies)

    def __str__(self) -> str:
        """Mean, standard deviation and range: `0.8487 ± 0.0178 (0.830-0.865)`."""
        if len(self.seeds) < 2:
            return "no spread"
        return "{mean:.4f} ± {std:.4f} ({min:.3f}-{max:.3f})".format(**self.to_json())


def seeds_of(head: Any, repeats: int) -> Sequence[int | None]:
    """The seeds to train a head with: `repeats` of them from its own on; none if a seed changes nothing."""
    params = head.get_params()
    if "random_state" not in params or (head.name in SEEDLESS and not head.searches):
        return ()
    first = params["random_state"]
    return [None] * repeats if first is None else range(first, first + repeats)
