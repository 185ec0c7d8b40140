"""How the long steps go, as the console shows it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from pipeline.cli import console
from pipeline.cli.display.words import MAX_LISTED, precision_words, warn_random_weights, weights_words
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.callbacks import Progress
from pipeline.extraction.plan import Changes, ExtractionPlan
from pipeline.images.augment import View
from pipeline.store import FeatureStore
from pipeline.text import counted, format_duration, format_size, printable

if TYPE_CHECKING:
    from pipeline.training.result import TrainedHead


class ConsoleProgress(Progress):
    """Shows stage one on the console."""

    def __init__(self) -> None:
        self.meter: console.Meter | None = None
        self.done = 0
        self.bad = 0
        self.computed = 0
        self.of_views = 0  # forward passes, once the views are computed

    def found(self, changes: Changes) -> None:
        """Say it in short: added, changed, removed."""
        if changes:
            console.say(f"changes    {changes}")

    def loading(self, spec: ConvBaseSpec) -> None:
        """Say so, and keep TensorFlow's own start-up lines away."""
        download = (
            " (its ImageNet weights are downloaded on first use)"
            if spec.weights == "imagenet" and not spec.is_file
            else ""
        )
        print(f"loading {spec.conv_base}{download} ...", file=sys.stderr, flush=True)
        console.start_tensorflow_quietly()

    def too_coarse(self, precision: str, error: Mapping[str, Any]) -> None:
        """Say why it is float32."""
        console.say(
            f"precision  {precision_words(precision, error)} is too much: float32; --precision {precision} insists"
        )

    def planned(self, plan: ExtractionPlan, store: FeatureStore) -> None:
        """Say what will be done."""
        self.computed += plan.rows_pending
        if self.of_views:
            self.meter = self.meter or console.Meter("views", self.of_views, "images")
            return
        spec, manifest = store.spec, store.manifest
        height, width = spec.height_width
        cut = f" cut at {spec.cut}" if spec.cut else ""
        console.say(
            f"conv base  {manifest.spec['conv_base']}{cut}, {height}x{width}, {spec.precision}, {weights_words(store)}"
        )
        if manifest.precision_error:
            console.say(f"precision  {precision_words(spec.precision, manifest.precision_error)}")
        console.say(
            f"features   {store.feature_shape} {store.dtype}: {plan.rows_pending} forward passes to make, "
            f"{format_size(plan.rows_pending * store.bytes_per_row)} to write; "
            f"{plan.images_cached} images cached already"
        )
        if store.random_weights:
            warn_random_weights()
        self.meter = console.Meter("features", plan.rows_pending, "images")

    def views_dropped(self, count: int) -> None:
        """Say so."""
        console.say(f"views      {counted(count, 'augmented copy', 'augmented copies')} of each image deleted")

    def views_planned(self, views: Sequence[View], passes: int, store: FeatureStore) -> None:
        """Say what will be done, and how long it takes if the pace of the images is known."""
        rate = self.meter.rate() if self.meter is not None else 0
        self.close()
        console.say(
            f"views      {counted(len(views), 'augmented copy', 'augmented copies')} of "
            f"{len(store.members('train'))} train images ({views[0].augmentation}): {passes} forward passes to make, "
            f"{format_size(passes * store.bytes_per_row)} to write"
            + (f", about {format_duration(passes / rate)}" if rate else "")
        )
        self.of_views, self.done = passes, 0

    def image_done(self) -> None:
        """Move the bar."""
        self.done += 1
        if self.meter is not None:
            self.meter.advance(self.done)

    def bad_image(self, id: str, reason: str) -> None:
        """Name the first few."""
        self.bad += 1
        if self.bad <= MAX_LISTED:
            console.err().print(Text(printable(f"left out: {id}: {reason}")))

    def close(self) -> None:
        """The step is over, at its end or not."""
        if self.meter is not None:
            self.meter.close()
            self.meter = None


class HeadsProgress:
    """Shows stage two on the console: a line a head, and a bar for one that trains in epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.meter: console.Meter | None = None
        self.name = ""

    def start(self, name: str) -> None:
        """A head is about to be trained, perhaps again with another seed."""
        self.close()
        self.name = name
        print(f"training {name} ...", file=sys.stderr, flush=True)

    def epoch(self, epoch: int, scores: Any) -> None:
        """An epoch, counted from 1, is over."""
        self.meter = self.meter or console.Meter(self.name, self.epochs, "epochs")
        self.meter.advance(epoch)

    def trained(self, trained: TrainedHead) -> None:
        """A head is saved."""
        self.close()
        print(
            f"trained {trained.name} in {trained.fit_seconds:.1f} s: accuracy {trained.evaluation.accuracy:.4f}",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        """The step is over, at its end or not."""
        if self.meter is not None:
            self.meter.close()
            self.meter = None
