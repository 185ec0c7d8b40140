"""The two steps of fine-tuning: train a head on frozen features, then head and top layers together."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import HeadError
from pipeline.extraction.callbacks import Callbacks
from pipeline.files.durable import canonical_json, sha256_of
from pipeline.finetune.frozen_features import compute_frozen_features
from pipeline.finetune.plan import make_plan
from pipeline.finetune.result import FinetunedResult
from pipeline.heads.finetuned import TuningSetup
from pipeline.heads.load_head import load_head, read_metrics
from pipeline.heads.save_head import save_head
from pipeline.store import FeatureStore, open_views
from pipeline.training.epoch_progress import EpochProgress
from pipeline.training.fit_and_score import Split, fit_head, score_head

logger = logging.getLogger(__name__)

FROZEN, CHECKPOINT = "frozen", "checkpoint.npz"


class Tuning:
    """The two steps on one store; `top_layers` are the layers above its cut, see `load_top_layers`."""

    def __init__(
        self, store: FeatureStore, splits: dict[str, Split], views: int, top_layers: Any, callbacks: Callbacks
    ):
        self.store, self.splits, self.views = store, splits, views
        self.top_layers, self.callbacks = top_layers, callbacks
        self.plan = make_plan(store, splits, views, top_layers)

    def train_frozen_head(self, head: Any) -> tuple[Any, dict[str, Any]]:
        """Train a dense head on the features of the untrained top layers; return it with its scores.

        The head is saved beside the checkpoint, and an interrupted run or one with another learning
        rate reuses it.
        """
        directory, identity = self.store.finetuning_directory / FROZEN, self.hash_training(head)
        if saved := _load_saved_head(directory, identity):
            self.callbacks.frozen_head_trained(saved[1]["accuracy"], reused=True)
            return saved
        start = time.perf_counter()
        with compute_frozen_features(
            self.top_layers,
            self.store,
            {split: self.splits[split] for split in ("train", "validation")},
            on_disk=self.plan.on_disk,
            on_rows=lambda done, total: self.callbacks.progress("frozen features", done, total, "images"),
        ) as features:
            fit_head(head, features, self.callbacks)
            seconds = time.perf_counter() - start
            evaluation = score_head(head, features, self.store)["validation"]
        metrics = {**evaluation.to_json(), "fit_seconds": round(seconds, 3), "identity": identity}
        save_head(head, directory, classes=self.store.classes, fingerprint=self.store.fingerprint, metrics=metrics)
        self.callbacks.frozen_head_trained(metrics["accuracy"], reused=False)
        return head, metrics

    def tune(self, head: Any, frozen_head: Any, frozen_metrics: dict[str, Any]) -> FinetunedResult:
        """Train top layers and head together, starting from `frozen_head`, and score them."""
        identity = f"{frozen_metrics['identity']} {self.hash_training(head)}"
        progress = EpochProgress("tuning", head.epochs, self.plan.images, self.callbacks)
        checkpoint = self.store.finetuning_directory / CHECKPOINT
        setup = TuningSetup(self.top_layers, frozen_head, checkpoint, identity, progress.resume, progress.advance)
        fit_head(head, self.splits, self.callbacks, setup=setup)
        evaluations = score_head(head, self.splits, self.store)
        return FinetunedResult(
            name=head.name,
            head=head,
            evaluation=evaluations["validation"],
            test_evaluation=evaluations.get("test"),
            fit_seconds=frozen_metrics["fit_seconds"] + sum(head.seconds_),
            parameters=head.count_parameters(),
            views=self.views,
            history=head.history_,
            cut=str(self.store.conv_base_spec.cut),
            frozen={name: value for name, value in frozen_metrics.items() if name != "identity"},
            seconds_per_epoch=float(np.median(head.seconds_)),
            kept_epoch=head.kept_epoch_,
        )

    def hash_training(self, head: Any) -> str:
        """Return the sha256 of everything that the training of `head` depends on, but for where it starts."""
        store = self.store
        data = {
            split: sha256_of(store.images.contents[members].tobytes() + store.images.labels[members].tobytes())
            for split in ("train", "validation")
            for members in [store.members(split)]
        }
        params = {name: value for name, value in head.get_params().items() if name != "epochs" or head.name == "dense"}
        document = {"fingerprint": store.fingerprint, "classes": list(store.classes), "params": params, "data": data}
        held_out = self.splits["train"].hold_out()
        document["held_out"] = [] if held_out is None else np.flatnonzero(held_out).tolist()
        document["views"] = [view.fingerprint for view in open_views(store)[: self.views - 1]]
        return sha256_of(canonical_json(document).encode())


def _load_saved_head(directory: Path, identity: str) -> tuple[Any, dict[str, Any]] | None:
    try:
        metrics = read_metrics(directory)
        if metrics is not None and metrics.get("identity") == identity:
            return load_head(directory), metrics
    except HeadError as error:
        logger.warning("%s; it is trained again now", error)
    return None
