"""The epochs of a training: scores, early stopping, divergence."""

import math
import time
from collections.abc import Callable

import numpy as np

from pipeline.errors import HeadError
from pipeline.heads.batches import LabelledRows, draw_views, shuffle_rows
from pipeline.heads.compiled_network import CompiledNetwork
from pipeline.heads.head import OnEpoch


class EpochLoop:
    """The epochs of a training, which stops after `patience` epochs without a lower loss.

    The loss is `held_out_loss` where rows are held out, otherwise `val_loss`, or `loss` without validation
    data. As in Keras, `loss` and `accuracy` are measured during an epoch, the others after it.
    """

    def __init__(self, network: CompiledNetwork, patience: int | None, rng: np.random.Generator):
        self.network, self.patience, self.rng = network, patience, rng
        self.history: dict[str, list[float]] = {}  # losses and accuracies, one value per epoch
        self.seconds: list[float] = []  # duration of each epoch
        self.best_loss, self.best_epoch = math.inf, 0  # with `patience` only
        self.best_weights: list[np.ndarray] | None = None  # those after the best epoch

    @property
    def done(self) -> int:
        """The number of finished epochs."""
        return len(self.seconds)

    @property
    def watched_losses(self) -> list[float]:
        """The loss that early stopping watches, one value per epoch."""
        names = [name for name in ("held_out_loss", "val_loss", "loss") if name in self.history]
        return self.history[names[0]] if names else []

    def run(
        self,
        training: LabelledRows,
        validation: LabelledRows | None,
        epochs: int,
        on_epoch: OnEpoch | None = None,
        on_rows: Callable[[int], None] | None = None,
        held_out: LabelledRows | None = None,
    ) -> None:
        """Run the epochs that are left of `epochs`, then go back to the best weights if there are any."""
        patience = math.inf if self.patience is None else self.patience
        while self.done < epochs and self.done - self.best_epoch < patience:
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
        """Run one epoch and return its losses and accuracies; the rows may differ from epoch to epoch.

        A loss that is no longer finite is a HeadError.
        """
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
        for name, score in scores.items():
            if not math.isfinite(score):
                reason = f"{name} is {score} after epoch {self.done + 1}"
                raise HeadError(f"{self.network.model.name} diverged: {reason}; lower learning_rate")
        for name, score in scores.items():
            self.history.setdefault(name, []).append(score)
        self.seconds.append(time.perf_counter() - start)
        if self.patience is not None:
            self.note_loss(self.watched_losses[-1])
        return scores

    def score(self, rows: LabelledRows, prefix: str = "val") -> dict[str, float]:
        """Return `val_loss` and `val_accuracy` of the present weights, or with another prefix."""
        return {f"{prefix}_{name}": score for name, score in self.network.run("score", rows).items()}

    def note_loss(self, loss: float) -> None:
        """Copy the present weights if `loss` is the lowest."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_weights = loss, self.done, self.network.model.get_weights()
