"""`ConsoleCallbacks`: the progress of the long functions on the console."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.cli import console
from pipeline.cli.display.words import MAX_LISTED, precision_words, warn_random_weights, weights_words
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.plan import Changes, ExtractionPlan
from pipeline.images.augment import View
from pipeline.store import FeatureStore
from pipeline.text import counted, format_duration, format_size

if TYPE_CHECKING:
    from pipeline.finetune import FinetunePlan


class ConsoleCallbacks(Callbacks):
    """Shows progress on the console; a context manager that closes the bar of the running step.

    Attributes
    ----------
    computed : int
        Forward passes planned so far, those of views included.
    """

    def __init__(self) -> None:
        self.meter: console.Meter | None = None
        self.computed = 0
        self._views = False
        self._rejected = 0
        self._rate = 0.0  # of the last step, in units a second

    def __enter__(self) -> ConsoleCallbacks:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the bar of the running step."""
        if self.meter is not None:
            self._rate = self.meter.rate()
            self.meter.close()
            self.meter = None

    def progress(self, step: str, done: int, total: int, unit: str) -> None:
        if self.meter is None or self.meter.what != step:
            self.close()
            self.meter = console.Meter(step, total, unit)
        self.meter.advance(done)
        if done >= total:
            self.close()

    def changes_found(self, changes: Changes) -> None:
        if changes:
            console.say(f"changes    {changes}")

    def conv_base_loading(self, spec: ConvBaseSpec) -> None:
        downloads = spec.weights == "imagenet" and not spec.is_file
        download = " (its ImageNet weights are downloaded on first use)" if downloads else ""
        console.note(f"loading {spec.conv_base}{download} ...")
        console.start_tensorflow_quietly()

    def precision_rejected(self, precision: str, error: Mapping[str, Any]) -> None:
        console.say(
            f"precision  {precision_words(precision, error)} is too much: float32; --precision {precision} insists"
        )

    def extraction_planned(self, plan: ExtractionPlan, store: FeatureStore) -> None:
        self.computed += plan.rows_pending
        if self._views:  # `views_planned` described them all
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

    def views_dropped(self, count: int) -> None:
        console.say(f"views      {counted(count, 'augmented copy', 'augmented copies')} of each image deleted")

    def views_planned(self, views: Sequence[View], passes: int, store: FeatureStore) -> None:
        self._views = True
        console.say(
            f"views      {counted(len(views), 'augmented copy', 'augmented copies')} of "
            f"{len(store.members('train'))} train images ({views[0].augmentation}): {passes} forward passes to make, "
            f"{format_size(passes * store.bytes_per_row)} to write"
            + (f", about {format_duration(passes / self._rate)}" if self._rate else "")
        )

    def image_rejected(self, id: str, reason: str) -> None:
        self._rejected += 1
        if self._rejected <= MAX_LISTED:
            console.note(f"left out: {id}: {reason}")

    def head_started(self, name: str) -> None:
        self.close()
        console.note(f"training {name} ...")

    def epoch_done(self, name: str, epoch: int, epochs: int, scores: Mapping[str, float]) -> None:
        if name != "finetuned":
            self.progress(name, epoch, epochs, "epochs")
            return
        line = f"epoch {epoch}/{epochs}: loss {scores['loss']:.4f}, validation loss "
        console.note(f"{line}{scores['val_loss']:.4f}, validation accuracy {scores['val_accuracy']:.4f}")

    def head_trained(self, name: str, accuracy: float, seconds: float) -> None:
        self.close()
        console.note(f"trained {name} in {seconds:.1f} s: accuracy {accuracy:.4f}")

    def finetune_planned(self, plan: FinetunePlan, store: FeatureStore) -> None:
        precision = "float32" if store.spec.precision == "float16" else store.spec.precision
        views = f" in {plan.views} views" if plan.views > 1 else ""
        console.say(
            f"{store.directory}: {plan.images} train images{views}, maps {store.feature_shape} of "
            f"{store.spec.cut}; {plan.parameters:,} weights above it to tune in {precision}"
        )
        where = "in a temporary file" if plan.on_disk else "of memory"
        console.say(
            f"first a dense head on the frozen features {plan.feature_shape}: {format_size(plan.feature_bytes)} {where}"
        )

    def frozen_head_trained(self, accuracy: float, reused: bool) -> None:
        self.close()
        earlier = " (of an earlier run)" if reused else ""
        console.say(f"before tuning{earlier}: accuracy {accuracy:.4f}")

    def finetune_resumed(self, epochs: int) -> None:
        console.say(f"going on after epoch {epochs} of an earlier run")

    def rows_recomputed(self, rows: int, largest: float) -> None:
        self.close()
        console.say(f"computed {rows} rows again: the largest relative L2 error is {largest:.1e}")


def show_scan(callbacks: Callbacks) -> Callable[[int, int], None]:
    """The `on_read` of `scan_images` that reports to `callbacks`."""
    return lambda done, total: callbacks.progress("reading", done, total, "files")
