"""`ConsoleWatch`: fine-tuning on the console. Apart from the rest of `display`, for what it imports is not quick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.cli import console
from pipeline.finetune import FinetunePlan, Watch
from pipeline.store import FeatureStore
from pipeline.text import format_size


class ConsoleWatch(Watch):
    """Shows fine-tuning on the console."""

    def __init__(self, store: FeatureStore, head_epochs: int, epochs: int):
        self.store, self.head_epochs, self.epochs = store, head_epochs, epochs
        self.images = 0
        self.meter: console.Meter | None = None
        self.done = self.resumed_at = 0

    def planned(self, plan: FinetunePlan) -> None:
        """Say what will be done, and what it takes."""
        where = "in a temporary file" if plan.on_disk else "of memory"
        self.images = plan.images
        views = f" in {plan.views} views" if plan.views > 1 else ""
        console.say(
            f"{self.store.directory}: {plan.images} train images{views}, maps {self.store.feature_shape} of "
            f"{self.store.spec.cut}; {plan.parameters:,} weights above it to tune in {self._precision()}"
        )
        room = f"{format_size(plan.feature_bytes)} {where}"
        console.say(f"first a dense head on the frozen features {plan.feature_shape}: {room}")

    def frozen_rows(self, done: int, total: int) -> None:
        """Move the bar."""
        self._advance("features", total, "images", done)

    def frozen_epoch(self, epoch: int, scores: dict[str, float]) -> None:
        """Move the bar."""
        self._advance("dense head", self.head_epochs, "epochs", epoch)

    def frozen_trained(self, metrics: Mapping[str, Any], kept: bool) -> None:
        """How good the head is before tuning."""
        self.close()
        earlier = " (of an earlier run)" if kept else ""
        console.say(f"before tuning{earlier}: accuracy {metrics['accuracy']:.4f}")

    def resumed(self, epochs: int) -> None:
        """Where it goes on."""
        self.resumed_at = epochs
        console.say(f"going on after epoch {epochs} of an earlier run")

    def rows(self, rows: int) -> None:
        """Move the bar."""
        self.done += rows
        self._advance("tuning", (self.epochs - self.resumed_at) * self.images, "images", self.done)

    def epoch(self, epoch: int, scores: dict[str, float]) -> None:
        """A line an epoch."""
        line = f"epoch {epoch}/{self.epochs}: loss {scores['loss']:.4f}, validation loss "
        console.note(f"{line}{scores['val_loss']:.4f}, validation accuracy {scores['val_accuracy']:.4f}")

    def close(self) -> None:
        """A step is over, at its end or not."""
        if self.meter is not None:
            self.meter.close()
            self.meter = None

    def _advance(self, what: str, total: int, unit: str, done: int) -> None:
        if self.meter is None or self.meter.what != what:
            self.close()
            self.meter = console.Meter(what, total, unit)
        self.meter.advance(done)

    def _precision(self) -> str:
        return "float32" if self.store.spec.precision == "float16" else self.store.spec.precision
