"""`FeatureCallbacks`: the running step, and the steps that make or check features, on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pipeline.cli import console
from pipeline.cli.display.progress import StepProgress
from pipeline.cli.display.words import describe_precision, warn_of_random_weights
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.conv_base.zoo import has_imagenet_weights
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.plan import Changes, ExtractionPlan
from pipeline.images.augment import View
from pipeline.store import FeatureStore
from pipeline.text import counted, format_duration, format_size

MIN_COSINE = 0.9  # of features in int8 and in float32, below which a warning is printed


class FeatureCallbacks(Callbacks):
    """Shows the steps of stage one, of joining and of verification; `ConsoleCallbacks` adds all others."""

    def __init__(self) -> None:
        self.passes = 0  # forward passes planned so far, those of views included
        self.seconds = 0.0  # that they take, if this was estimated
        self._step: StepProgress | None = None
        self._images_per_second = 0.0  # of the step that computes the features
        self._shards = 0  # that a cluster has computed in this step
        self._hosts: dict[str, tuple[int, float]] = {}  # images and seconds of each of its hosts
        self._views_announced = False
        self._rejected = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the bar of the running step."""
        if self._step is not None:
            if self._step.step == "features":
                self._images_per_second = self._step.units_per_second()
            self._step.close()
            self._step = None

    def say(self, text: str) -> None:
        """Print a result; the running step is over."""
        self.close()
        console.say(text)

    def progress(self, step: str, done: int, total: int | None, unit: str) -> None:
        """Show a bar or lines in a log; a `total` of None is unknown."""
        if self._step is None or self._step.step != step:
            self.close()
            self._shards, self._hosts = 0, {}
            self._step = StepProgress(step, total, unit)
        self._step.update(done)
        if total is not None and done >= total:
            self.close()

    # Stage one

    def changes_found(self, changes: Changes) -> None:
        if changes:
            self.say(f"changes    {changes}")

    def conv_base_loading(self, spec: ConvBaseSpec) -> None:
        self._announce_loading(spec, "")
        console.start_tensorflow_quietly()

    def worker_loading(self, spec: ConvBaseSpec) -> None:
        self._announce_loading(spec, " on a worker")

    def _announce_loading(self, spec: ConvBaseSpec, where: str) -> None:
        self.close()
        download = spec.weights == "imagenet" and not spec.is_path and has_imagenet_weights(spec.conv_base)
        hint = " (its ImageNet weights are downloaded on first use)" if download else ""
        console.note(f"loading {spec.conv_base}{where}{hint} ...")

    def precision_rejected(self, precision: str, error: Mapping[str, Any]) -> None:
        self.say(
            f"precision  {describe_precision(precision, error)} is too much: float32 is used; "
            f"--precision {precision} insists"
        )

    def decoding_measured(self, exact: float, scaled: float) -> None:
        self.say(
            f"decode     exact, about {exact * 1000:.0f} ms a photo; --decode scaled --rebuild would take "
            f"{scaled * 1000:.0f} ms"
        )

    def quantizing(self, images: int) -> None:
        self.close()
        console.note(f"quantising the conv base, calibrated on {images} train images ...")

    def int8_recommended(self, seconds: float, float_seconds: float) -> None:
        shorter, longer = format_duration(seconds), format_duration(float_seconds)
        self.say(f"int8       about {shorter} instead of {longer}; see --precision int8")

    def extraction_planned(self, plan: ExtractionPlan, store: FeatureStore) -> None:
        self.passes += plan.rows_pending
        if self._views_announced:  # `views_planned` has described all views
            return
        spec, manifest = store.conv_base_spec, store.manifest
        height, width = spec.height_width
        cut = f" cut at {spec.cut}" if spec.cut else ""
        source = str(manifest.sources["weights"])
        weights = {"imagenet": "ImageNet weights", "random": "RANDOM weights"}.get(source, f"weights of {source}")
        self.say(f"conv base  {manifest.spec['conv_base']}{cut}, {height}x{width}, {spec.precision}, {weights}")
        if manifest.precision_error:
            self.say(f"precision  {describe_precision(spec.precision, manifest.precision_error)}")
            if manifest.precision_error.get("cosine", 1) < MIN_COSINE:
                console.warn("int8 suits this conv base badly: its features are far from those in float32")
        self.say(
            f"features   {store.feature_shape} {store.dtype}: {plan.rows_pending} forward passes to make, "
            f"{format_size(plan.rows_pending * store.bytes_per_row)} to write; "
            f"{plan.images_cached} images cached already"
        )
        warn_of_random_weights(store)

    def part_planned(self, rows: int, store: FeatureStore) -> None:
        view = f" for view {store.spec.view.number}" if store.spec.view else ""
        size = format_size(rows * store.bytes_per_row)
        self.say(f"part       {rows} forward passes to make{view}, {size} to write")

    def duration_estimated(self, seconds: float) -> None:
        self.seconds += seconds

    def shard_computed(self, host: str, images: int, seconds: float) -> None:
        self._shards += 1
        done, spent = self._hosts.get(host, (0, 0.0))
        self._hosts[host] = (done + images, spent + seconds)
        if self._step is not None:
            slowest = max(self._hosts, key=lambda host: self._hosts[host][1] / self._hosts[host][0])
            self._step.detail = (
                f", {self._shards / self._step.seconds():.2f} shards/s on {counted(len(self._hosts), 'host')}"
                + (f", the slowest is {slowest}" if len(self._hosts) > 1 else "")
            )

    def views_dropped(self, count: int) -> None:
        self.say(f"views      {counted(count, 'augmented copy', 'augmented copies')} of each image deleted")

    def views_planned(self, views: Sequence[View], passes: int, store: FeatureStore) -> None:
        self.close()
        self._views_announced = True
        copies = counted(len(views), "augmented copy", "augmented copies")
        rate = self._images_per_second
        duration = f", about {format_duration(passes / rate)}" if rate else ""
        self.say(
            f"views      {copies} of {len(store.members('train'))} train images ({views[0].augmentation}): "
            f"{passes} forward passes to make, {format_size(passes * store.bytes_per_row)} to write{duration}"
        )

    def image_rejected(self, id: str, reason: str) -> None:
        self._rejected += 1
        if self._rejected <= console.MAX_LISTED:
            console.note(f"left out: {id}: {reason}")

    # Joining stores

    def images_not_joined(self, store: FeatureStore, ids: Sequence[str], count: int) -> None:
        self.close()
        more = f" and {count - len(ids)} more" if count > len(ids) else ""
        console.warn(
            f"left out: {counted(count, 'image')} without features in {store.directory}: {', '.join(ids)}{more}"
        )

    def join_planned(self, plan: ExtractionPlan, store: FeatureStore) -> None:
        rows, size = counted(plan.rows_pending, "row"), format_size(plan.rows_pending * store.bytes_per_row)
        self.say(
            f"features   {store.feature_shape} {store.dtype}: {rows} to read from the joined stores, {size} to write; "
            f"{plan.images_cached} images joined already"
        )

    # Verification

    def rows_recomputed(self, rows: int, largest: float) -> None:
        self.say(f"computed {rows} rows again: the largest relative L2 error is {largest:.1e}")
