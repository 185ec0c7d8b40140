"""The epochs of the dense and the fine-tuned head: scores, early stopping, divergence."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from pipeline.errors import HeadError
from pipeline.heads.batches import LabelledRows, draw_views, shuffle_rows
from pipeline.heads.compiled_network import CompiledNetwork
from pipeline.heads.head import OnEpoch


class EpochLoop:
    """The epochs of a training.

    Parameters
    ----------
    network : CompiledNetwork
    patience : int, optional
        Epochs without a lower loss after which training stops; see `DenseHead`.
    rng : numpy.random.Generator
        Draws the order of the rows.

    Attributes
    ----------
    history : dict of str to list of float
        `loss` and `accuracy` of each epoch, measured during it as Keras does; `val_loss`, `val_accuracy`,
        `held_out_loss` and `held_out_accuracy` after it, where there are such rows.
    seconds : list of float
        Duration of each epoch.
    best_loss, best_epoch, best_weights
        The lowest loss, its epoch, and the weights after that epoch; with `patience` only. The loss
        is `held_out_loss` where rows are held out, otherwise `val_loss`, or `loss` without validation data.
    """

    def __init__(self, network: CompiledNetwork, patience: int | None, rng: np.random.Generator):
        self.network, self.patience, self.rng = network, patience, rng
        self.history: dict[str, list[float]] = {}
        self.seconds: list[float] = []
        self.best_loss, self.best_epoch = math.inf, 0
        self.best_weights: list[np.ndarray] | None = None

    @property
    def done(self) -> int:
        """The number of finished epochs."""
        return len(self.seconds)

    @property
    def is_over(self) -> bool:
        """Whether `patience` epochs have brought no lower loss."""
        return self.patience is not None and self.done - self.best_epoch >= self.patience

    def run(
        self,
        training: LabelledRows,
        validation: LabelledRows | None,
        epochs: int,
        on_epoch: OnEpoch | None = None,
        on_rows: Callable[[int], None] | None = None,
        held_out: LabelledRows | None = None,
    ) -> None:
        """Run the epochs that are left of `epochs`, then go back to the best weights if there are any.

        Parameters
        ----------
        training : LabelledRows
        validation : LabelledRows, optional
        epochs : int
            Epochs in all, with those that are done.
        on_epoch : callable, optional
            Called after each epoch with its number, from 1, and its losses and accuracies.
        on_rows : callable, optional
            See `CompiledNetwork.run`.
        held_out : LabelledRows, optional
            The rows on which the best epoch is chosen; see `DenseHead.fit`.

        Raises
        ------
        HeadError
            A loss is no longer finite.
        """
        while self.done < epochs and not self.is_over:
            scores = self.run_epoch(training, validation, on_rows, held_out)
            if on_epoch is not None:
                on_epoch(self.done, scores)
        if self.best_weights is not None:
            self.network.model.set_weights(self.best_weights)

    def run_epoch(
        self,
        training: LabelledRows,
        validation: LabelledRows | None = None,
        on_rows: Callable[[int], None] | None = None,
        held_out: LabelledRows | None = None,
    ) -> dict[str, float]:
        """Run one epoch and return its losses and accuracies; the rows may differ from epoch to epoch."""
        start = time.perf_counter()
        drawn = np.isin(np.arange(len(training.X)), training.rows)
        if training.images is not None:
            drawn &= draw_views(training.images, self.rng)
        order = shuffle_rows(training.X, self.network.batch_size, self.rng, drawn)
        scores = self.network.run("train", training._replace(rows=order), on_rows)
        if validation is not None:
            scores |= self.score(validation)
        if held_out is not None:
            scores |= self.score(held_out, "held_out")
        self._check_finite(scores)
        for name, score in scores.items():
            self.history.setdefault(name, []).append(score)
        self.seconds.append(time.perf_counter() - start)
        if self.patience is not None:
            self.note_loss(scores.get("held_out_loss", scores.get("val_loss", scores["loss"])))
        return scores

    def score(self, rows: LabelledRows, prefix: str = "val") -> dict[str, float]:
        """Return `val_loss` and `val_accuracy` of the present weights, or with another prefix."""
        return {f"{prefix}_{name}": score for name, score in self.network.run("score", rows).items()}

    def note_loss(self, loss: float) -> None:
        """Copy the present weights if `loss` is the lowest."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_weights = loss, self.done, self.network.model.get_weights()

    def _check_finite(self, scores: dict[str, float]) -> None:
        for name, score in scores.items():
            if not math.isfinite(score):
                raise HeadError(
                    f"{self.network.model.name} diverged: {name} is {score} after epoch {self.done + 1}; "
                    "lower learning_rate"
                )
