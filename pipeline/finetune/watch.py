"""What fine-tuning tells whoever waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class FinetunePlan(NamedTuple):
    """What is about to be done.

    Attributes
    ----------
    parameters : int
        Weights above the cut that will be trained.
    images : int
        To train on in an epoch.
    views : int
        Of each train image, of which an epoch draws one.
    feature_shape : tuple of int
        Of one image, where the top layers end.
    feature_bytes : int
        Of the features of all images there, kept while the head is trained on them.
    on_disk : bool
        Whether they are kept in a temporary file, as memory is short.
    """

    parameters: int
    images: int
    views: int
    feature_shape: tuple[int, ...]
    feature_bytes: int
    on_disk: bool


class Watch:
    """Is told how fine-tuning goes; override what is of interest."""

    def planned(self, plan: FinetunePlan) -> None:
        """Called once, before anything takes long."""

    def frozen_rows(self, done: int, total: int) -> None:
        """So many rows of maps went through the top layers."""

    def frozen_epoch(self, epoch: int, scores: dict[str, float]) -> None:
        """An epoch of the head on frozen features is over."""

    def frozen_trained(self, metrics: Mapping[str, Any], kept: bool) -> None:
        """The head on frozen features is trained and scored, or `kept` from an earlier run."""

    def resumed(self, epochs: int) -> None:
        """So many epochs of tuning were done in an earlier run that was interrupted."""

    def rows(self, rows: int) -> None:
        """So many images more went through a step of tuning."""

    def epoch(self, epoch: int, scores: dict[str, float]) -> None:
        """An epoch of tuning, counted from 1, is over and written down."""
