"""`Callbacks`: what the long functions of this package call while they run."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.plan import Changes, ExtractionPlan
from pipeline.images.augment import View
from pipeline.store import FeatureStore

logger = logging.getLogger(__name__)


class Callbacks:
    """Callbacks of the long functions; the base class ignores them, but for `head_failed`.

    Override the methods that you need and pass an instance as `callbacks`. All calls come from the
    thread that called the function. An exception raised by a callback ends the function like any other
    error; what was finished before is kept.
    """

    def progress(self, step: str, done: int, total: int, unit: str) -> None:
        """`done` of `total` units of a step are done: `("features", 64, 4000, "images")`.

        Each step starts with a call with `done=0` or with its first units.
        """

    # Stage one

    def changes_found(self, changes: Changes) -> None:
        """The images differ from those that the store was last filled with."""

    def conv_base_loading(self, spec: ConvBaseSpec) -> None:
        """The conv base is about to be loaded, which takes seconds."""

    def worker_loading(self, spec: ConvBaseSpec) -> None:
        """A worker of a cluster is about to load the conv base."""

    def precision_rejected(self, precision: str, error: Mapping[str, Any]) -> None:
        """The fastest precision changes the features too much; float32 is used.

        `error` holds `relative_l2` and the number of `images` that it was measured on.
        """

    def decoding_measured(self, exact: float, scaled: float) -> None:
        """Many large photos are pending: decoding one takes `exact` seconds, and `scaled` with `decode="scaled"`.

        Only called if that would be much faster.
        """

    def quantizing(self, images: int) -> None:
        """The conv base is about to be quantised, calibrated on `images` images, which takes seconds."""

    def int8_recommended(self, seconds: float, float_seconds: float) -> None:
        """Stage one would take `seconds` in int8, much less than the `float_seconds` that it is going to take."""

    def extraction_planned(self, plan: ExtractionPlan, store: FeatureStore) -> None:
        """Everything is checked; the computation begins when this returns. Also called for each view."""

    def part_planned(self, rows: int, store: FeatureStore) -> None:
        """A part of a plan is about to be computed: `rows` rows of a store, or of a view."""

    def duration_estimated(self, seconds: float) -> None:
        """A plan was written, and computing it where it was measured would take `seconds`."""

    def shard_computed(self, host: str, images: int, seconds: float) -> None:
        """A worker on a host of a cluster has computed a shard of so many images, and it is stored."""

    def views_dropped(self, count: int) -> None:
        """`count` augmented views were deleted, as fewer were requested."""

    def views_planned(self, views: Sequence[View], passes: int, store: FeatureStore) -> None:
        """The augmented views of `store` are about to be filled, in `passes` forward passes."""

    def image_rejected(self, id: str, reason: str) -> None:
        """An image cannot be used and gets no features."""

    # Joining stores

    def images_not_joined(self, store: FeatureStore, ids: Sequence[str], count: int) -> None:
        """`count` images have no features in `store`, one of the stores to join, and are left out; `ids` are some."""

    def join_planned(self, plan: ExtractionPlan, store: FeatureStore) -> None:
        """The features of a joined store are about to be read from its parts."""

    # Stage two and fine-tuning

    def head_started(self, name: str) -> None:
        """A head is about to be trained, for the first time or with another seed."""

    def epoch_done(self, name: str, epoch: int, epochs: int, scores: Mapping[str, float]) -> None:
        """Epoch number `epoch`, counted from 1, of at most `epochs` is over."""

    def head_trained(self, name: str, accuracy: float, seconds: float) -> None:
        """A head is trained, scored on the validation images and saved."""

    def head_failed(self, name: str, reason: str) -> None:
        """A head cannot be trained; the others are trained nevertheless. The base class logs a warning."""
        logger.warning("%s", reason)

    def finetune_planned(self, plan: Any, store: FeatureStore) -> None:
        """Fine-tuning is about to begin; `plan` is a `pipeline.finetune.FinetunePlan`."""

    def frozen_head_trained(self, accuracy: float, reused: bool) -> None:
        """The dense head on frozen features is trained, or `reused` from an interrupted run."""

    def finetune_resumed(self, epochs: int) -> None:
        """Fine-tuning, or the training of a conv base, continues after `epochs` epochs of an interrupted run."""

    # Training of a conv base

    def base_training_planned(self, plan: Any) -> None:
        """The training of a conv base is about to begin; `plan` is a `pipeline.base_training.TrainingPlan`."""

    # Comparison of conv bases

    def comparison_step_planned(self, step: int, names: Sequence[str], images: int, seconds: float | None) -> None:
        """Step number `step` of a comparison begins: each of `names` on `images` images.

        It takes about `seconds` in total; None in the first step, before anything is measured.
        """

    def comparison_limited(self, names: Sequence[str], seconds: float, left: float) -> None:
        """`names` do not go on: they would take `seconds`, and `left` seconds of the budget are left."""

    def spec_started(self, name: str, number: int, total: int) -> None:
        """Spec number `number`, counted from 1, of `total` is about to be measured."""

    def spec_failed(self, name: str, reason: str) -> None:
        """A spec cannot be compared; the others are. The base class logs a warning."""
        logger.warning("%s: %s", name, reason)

    # Verification

    def rows_recomputed(self, rows: int, largest: float) -> None:
        """`rows` rows were computed again; `largest` is their largest relative L2 error."""


SILENT = Callbacks()  # the default of every `callbacks`
