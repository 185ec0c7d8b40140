"""`finetune`: the layers above the cut and a head, trained together."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pipeline import console, display
from pipeline.finetune import Plan, Watch, check_cut, finetune_head
from pipeline.store import FeatureStore, open_features
from pipeline.train import check_ready
from pipeline.trained import title_of


def run(options: argparse.Namespace) -> int:
    """The layers above the cut and a head, trained together."""
    store = open_features(options.store)
    check_cut(store)
    check_ready(store, options.max_bad)
    if store.random_weights:
        display.warn_random_weights()
    print(f"loading {store.spec.conv_base} ...", file=sys.stderr, flush=True)
    console.start_tensorflow_quietly()
    class_weight = "balanced" if options.balanced else None
    watch = ConsoleWatch(store, options.head_epochs, options.epochs)
    try:
        result = finetune_head(
            store,
            params={
                "learning_rate": options.learning_rate,
                "epochs": options.epochs,
                "batch_size": options.batch_size,
                "patience": options.patience,
                "class_weight": class_weight,
            },
            dense={
                "units": options.units,
                "dropout": options.dropout,
                "epochs": options.head_epochs,
                "learning_rate": options.head_learning_rate,
                "batch_size": options.batch_size,
                "class_weight": class_weight,
            },
            max_bad=options.max_bad,
            views=options.views,
            watch=watch,
        )
    finally:
        watch.close()
    if not result.kept_epoch:
        console.warn("no epoch had a lower validation loss than none: the head that is kept is the one before tuning")
    title = title_of(f"{result.report.n} validation images", store)
    before = {**result.metrics(), **result.frozen, "head": "before tuning", "test": None}
    console.out().print(display.leaderboard(title, [result.metrics(), before]))
    console.say(
        f"{result.seconds_per_epoch:.1f} s an epoch; the weights after epoch {result.kept_epoch} are saved in "
        f"{store.heads_directory / result.name}"
    )
    return 0


class ConsoleWatch(Watch):
    """Shows fine-tuning on the console."""

    def __init__(self, store: FeatureStore, head_epochs: int, epochs: int):
        self.store, self.head_epochs, self.epochs = store, head_epochs, epochs
        self.images = 0
        self.meter: console.Meter | None = None
        self.done = self.resumed_at = 0

    def planned(self, plan: Plan) -> None:
        """Say what will be done, and what it takes."""
        where = "in a temporary file" if plan.on_disk else "of memory"
        self.images = plan.images
        views = f" in {plan.views} views" if plan.views > 1 else ""
        console.say(
            f"{self.store.directory}: {plan.images} train images{views}, maps {self.store.feature_shape} of "
            f"{self.store.spec.cut}; {plan.parameters:,} weights above it to tune in {self._precision()}"
        )
        room = f"{console.size(plan.feature_bytes)} {where}"
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
