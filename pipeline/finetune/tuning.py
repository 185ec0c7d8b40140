"""The two steps of fine-tuning: a head on frozen features, then head and top layers together."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import HeadError
from pipeline.evaluation import evaluate
from pipeline.extraction.callbacks import Callbacks
from pipeline.files.durable import canonical_json, sha256_of
from pipeline.finetune.frozen_features import frozen_features
from pipeline.finetune.plan import FinetunePlan
from pipeline.heads.loading import load_head
from pipeline.heads.memory import available_memory
from pipeline.heads.saved_metrics import read_metrics
from pipeline.heads.saving import save_head
from pipeline.images.table import SPLITS
from pipeline.store import FeatureStore, open_views, stack_views
from pipeline.training.trained_head import TrainedHead

logger = logging.getLogger(__name__)

WAY = "fine-tuned"
FROZEN, CHECKPOINT = "frozen", "checkpoint.npz"


@dataclass(frozen=True)
class FinetunedResult(TrainedHead):
    """A fine-tuned head and what it is worth, beside the same model before it was tuned.

    Attributes
    ----------
    cut : str
    frozen : dict
        Scores and `fit_seconds` of the head on frozen features that tuning started from.
    seconds_per_epoch : float
        The median.
    kept_epoch : int
        Whose weights were kept, 0 being those from before the first.
    """

    cut: str = ""
    frozen: dict[str, Any] = field(default_factory=dict)
    seconds_per_epoch: float = 0.0
    kept_epoch: int = 0

    def metrics(self) -> dict[str, Any]:
        """All of it but the head, for JSON."""
        return {
            **super().metrics(),
            "way": WAY,
            "cut": self.cut,
            "frozen": self.frozen,
            "seconds_per_epoch": round(self.seconds_per_epoch, 3),
            "kept_epoch": self.kept_epoch,
        }


class Maps(NamedTuple):
    """What a store has to train and score on.

    Attributes
    ----------
    of : dict of str to (rows, labels)
        By split.
    groups : ndarray, optional
        Of the train rows, equal where they are views of one image.
    views : int
    """

    of: dict[str, tuple[Any, np.ndarray]]
    groups: np.ndarray | None
    views: int


def read_maps(store: FeatureStore, views: int) -> Maps:
    """The maps of a store, to be read on demand, its train images in `views` views.

    Raises
    ------
    StoreError
        There are fewer views.
    """
    of: dict[str, tuple[Any, np.ndarray]] = {
        split: store.on_demand(split) for split in SPLITS if len(store.members(split))
    }
    groups = None
    if views > 1:
        X, y, groups = stack_views(store, "train", views)
        of["train"] = X, y
    return Maps(of, groups, views)


def make_plan(store: FeatureStore, maps: Maps, top_layers: Any) -> FinetunePlan:
    """What fine-tuning will do, and the room that it takes."""
    shape = tuple(top_layers.output_shape[1:])
    rows = {split: len(maps.of[split][1]) for split in ("train", "validation")}
    needed = sum(rows.values()) * int(np.prod(shape)) * store.dtype.itemsize
    there = available_memory()
    return FinetunePlan(
        parameters=sum(int(np.prod(weight.shape)) for weight in top_layers.trainable_weights),
        images=rows["train"] if maps.groups is None else len(np.unique(maps.groups)),
        views=maps.views,
        feature_shape=shape,
        feature_bytes=needed,
        on_disk=there is not None and needed > there / 2,
    )


class Tuning:
    """The two steps, on one store."""

    def __init__(self, store: FeatureStore, maps: Maps, top_layers: Any, callbacks: Callbacks):
        self.store, self.maps, self.top_layers, self.callbacks = store, maps, top_layers, callbacks
        self.plan = make_plan(store, maps, top_layers)

    def frozen_head(self, head: Any) -> tuple[Any, dict[str, Any]]:
        """A dense head trained on the features that the top layers give as they are, and its scores.

        It is kept beside the checkpoint: an interrupted run goes on from it, and so does one with
        another learning rate.
        """
        directory, identity = self.store.finetuning_directory / FROZEN, self.identity_of(head)
        if kept := _kept(directory, identity):
            self.callbacks.frozen_head_trained(kept[1]["accuracy"], reused=True)
            return kept
        start = time.perf_counter()
        with frozen_features(
            self.top_layers,
            self.store,
            {split: self.maps.of[split] for split in ("train", "validation")},
            on_disk=self.plan.on_disk,
            on_rows=lambda done, total: self.callbacks.progress("frozen features", done, total, "images"),
        ) as features:
            validation = features["validation"]
            head.fit(
                *features["train"],
                validation_data=validation,
                on_epoch=lambda epoch, scores: self.callbacks.epoch_done(head.name, epoch, head.epochs, scores),
                images=self.maps.groups,
            )
            seconds = time.perf_counter() - start
            report = self._evaluate(head, "validation", validation)
        metrics = {**report.to_json(), "fit_seconds": round(seconds, 3), "identity": identity}
        save_head(head, directory, classes=self.store.classes, fingerprint=self.store.fingerprint, metrics=metrics)
        self.callbacks.frozen_head_trained(metrics["accuracy"], reused=False)
        return head, metrics

    def tune(self, head: Any, frozen: Any, frozen_metrics: dict[str, Any]) -> FinetunedResult:
        """Train top layers and head together, and score them."""
        identity = f"{frozen_metrics['identity']} {self.identity_of(head)}"
        progress = _Progress(head.epochs, self.plan.images, self.callbacks)
        head.fit(
            *self.maps.of["train"],
            validation_data=self.maps.of["validation"],
            on_epoch=lambda epoch, scores: self.callbacks.epoch_done(head.name, epoch, head.epochs, scores),
            images=self.maps.groups,
            top_layers=self.top_layers,
            dense=frozen,
            checkpoint=self.store.finetuning_directory / CHECKPOINT,
            identity=identity,
            on_resume=progress.resume,
            on_rows=progress.advance,
        )
        reports = {split: self._evaluate(head, split, data) for split, data in self.maps.of.items() if split != "train"}
        return FinetunedResult(
            name=head.name,
            head=head,
            evaluation=reports["validation"],
            test_evaluation=reports.get("test"),
            fit_seconds=frozen_metrics["fit_seconds"] + sum(head.seconds_),
            parameters=head.count_parameters(),
            views=self.maps.views,
            history=head.history_,
            cut=str(self.store.spec.cut),
            frozen={name: value for name, value in frozen_metrics.items() if name != "identity"},
            seconds_per_epoch=float(np.median(head.seconds_)),
            kept_epoch=head.kept_epoch_,
        )

    def _evaluate(self, head: Any, split: str, data: tuple[Any, np.ndarray]) -> Any:
        return evaluate(head, *data, classes=self.store.classes, groups=self.store.resampling_groups(split))

    def identity_of(self, head: Any) -> str:
        """The sha256 of what training this head depends on, but for what it starts from."""
        store = self.store
        data = {
            split: sha256_of(store.images.contents[members].tobytes() + store.images.labels[members].tobytes())
            for split in ("train", "validation")
            for members in [store.members(split)]
        }
        params = {name: value for name, value in head.get_params().items() if name != "epochs" or head.name == "dense"}
        known = {"fingerprint": store.fingerprint, "classes": list(store.classes), "params": params, "data": data}
        known["views"] = [view.fingerprint for view in open_views(store)[: self.maps.views - 1]]
        return sha256_of(canonical_json(known).encode())


class _Progress:
    """Counts the images of all epochs that are still to be run."""

    def __init__(self, epochs: int, images: int, callbacks: Callbacks):
        self.epochs, self.images, self.callbacks = epochs, images, callbacks
        self.done = 0

    def resume(self, epochs: int) -> None:
        """`epochs` epochs were done by an interrupted run."""
        self.epochs -= epochs
        self.callbacks.finetune_resumed(epochs)

    def advance(self, images: int) -> None:
        """`images` more images are done."""
        self.done += images
        self.callbacks.progress("tuning", self.done, self.epochs * self.images, "images")


def _kept(directory: Path, identity: str) -> tuple[Any, dict[str, Any]] | None:
    try:
        metrics = read_metrics(directory)
        if metrics is not None and metrics.get("identity") == identity:
            return load_head(directory), metrics
    except HeadError as error:
        logger.warning("%s; it is trained again now", error)
    return None
