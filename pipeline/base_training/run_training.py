"""One training: what it starts from, its epochs, and how it continues after an interruption."""

import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.base_training.decoded_images import DecodedImages, decode_images, has_decoded
from pipeline.base_training.plan import Rows, TrainingPlan, check_space, decoded_bytes, split_rows, used_images
from pipeline.conv_base.keras_setup import run_isolated
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.callbacks import Callbacks
from pipeline.files.durable import canonical_json, sha256_of
from pipeline.images.augment import Augmentation
from pipeline.images.table import ImageTable
from pipeline.training.epoch_progress import EpochProgress

if TYPE_CHECKING:
    from pipeline.heads.batches import LabelledRows
    from pipeline.heads.epoch_loop import EpochLoop

logger = logging.getLogger(__name__)

NAME = "conv base"  # in `epoch_done`
CHECKPOINT = "checkpoint.npz"
RATE_PATIENCE, RATE_FACTOR = 4, 0.5  # see `reduced_rate`


class Settings(NamedTuple):
    """The settings of a training; see `train_conv_base`."""

    epochs: int
    patience: int
    learning_rate: float
    batch_size: int
    augmentation: Augmentation
    seed: int
    max_bad: float
    workers: int | None


class FinishedTraining(NamedTuple):
    """A trained conv base, and the loop that trained it."""

    base: Any  # keras.Model: RGB in 0..255 to features
    loop: "EpochLoop"
    rows: Rows


def run_training(
    images: ImageTable, spec: ConvBaseSpec, directory: Path, settings: Settings, callbacks: Callbacks
) -> FinishedTraining:
    """Train a conv base, or go on where an interrupted run has left its state in `directory`."""
    from pipeline.heads.compiled_network import CompiledNetwork
    from pipeline.heads.epoch_loop import EpochLoop

    used = used_images(images)
    rows = split_rows(images, used, np.ones(len(used), bool))
    callbacks.conv_base_loading(spec)
    spec, base, network = run_isolated(_build, spec, len(images.classes), settings)
    _announce(network, rows, images, used, spec, directory, callbacks)
    decoded = decode_images(
        directory, images, used, spec, max_bad=settings.max_bad, workers=settings.workers, callbacks=callbacks
    )
    rows = split_rows(images, used, decoded.is_decoded)
    compiled = CompiledNetwork(network, settings.learning_rate, settings.batch_size, max_steps=1)
    loop = EpochLoop(compiled, settings.patience, np.random.default_rng(settings.seed))
    identity = _hash_training(images, used, decoded, spec, settings)
    data = _label_rows(decoded, images.labels[used], len(images.classes))
    _run_epochs(loop, data, rows, directory / CHECKPOINT, identity, settings, callbacks)
    return FinishedTraining(base, loop, rows)


def reduced_rate(rate: float, losses: list[float]) -> float:
    """Return the learning rate of the next epoch: halved after every 4 epochs without a lower loss."""
    lowest, waited = math.inf, 0
    for loss in losses:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(lowest, loss)
        if waited == RATE_PATIENCE:
            rate, waited = rate * RATE_FACTOR, 0
    return rate


def _build(spec: ConvBaseSpec, classes: int, settings: Settings) -> tuple[ConvBaseSpec, Any, Any]:
    from pipeline.base_training.network import build_network
    from pipeline.conv_base.load import load_to_train

    full = load_to_train(spec, settings.seed)
    return full.spec, full.model, build_network(full.model, classes, settings.augmentation, settings.seed)


def _announce(
    network: Any,
    rows: Rows,
    images: ImageTable,
    used: np.ndarray,
    spec: ConvBaseSpec,
    directory: Path,
    callbacks: Callbacks,
) -> None:
    """Report the plan, after a check that the disk has room for it."""
    plan = TrainingPlan(
        parameters=network.count_params(),
        train=len(rows.train),
        held_out=len(rows.held_out),
        validation=len(rows.validation),
        decoded_bytes=decoded_bytes(len(used), spec.height_width),
        is_decoded=has_decoded(directory, images, used, spec),
        directory=directory,
    )
    if not plan.is_decoded:
        check_space(directory, plan.decoded_bytes)
    callbacks.base_training_planned(plan)


def _label_rows(decoded: DecodedImages, labels: np.ndarray, classes: int) -> "LabelledRows":
    from pipeline.heads.batches import LabelledRows

    targets = labels[:, None].astype(np.float32) if classes == 2 else labels.astype(np.int64)
    n = len(labels)
    return LabelledRows(decoded.pixels, np.arange(n), targets, np.ones(n, np.float32))


def _run_epochs(
    loop: "EpochLoop",
    data: "LabelledRows",
    rows: Rows,
    checkpoint: Path,
    identity: str,
    settings: Settings,
    callbacks: Callbacks,
) -> None:
    """Run the epochs that are left, and leave the weights of the best one in the network."""
    from pipeline.heads.checkpoint import read_checkpoint, write_checkpoint

    progress = EpochProgress("training", settings.epochs, len(rows.train), callbacks)
    rate = loop.network.adam.learning_rate
    try:
        if read_checkpoint(checkpoint, loop, identity, settings.epochs):
            progress.resume(loop.done)
            rate.assign(reduced_rate(settings.learning_rate, loop.watched_losses))
        elif checkpoint.exists():
            logger.warning("%s is of a training with other images or settings; the training starts again", checkpoint)
    except ValueError as error:
        logger.warning("%s; the training starts again", error)

    def after_epoch(epoch: int, scores: dict[str, float]) -> None:
        rate.assign(reduced_rate(settings.learning_rate, loop.watched_losses))
        write_checkpoint(checkpoint, loop, identity)
        callbacks.epoch_done(NAME, epoch, settings.epochs, {**scores, "seconds": loop.seconds[-1]})

    train, held_out, validation = (data._replace(rows=part) if len(part) else None for part in rows)
    assert train is not None  # `split_rows` has found two classes
    loop.run(train, validation, settings.epochs, after_epoch, progress.advance, held_out)


def _hash_training(
    images: ImageTable, used: np.ndarray, decoded: DecodedImages, spec: ConvBaseSpec, settings: Settings
) -> str:
    """Return the sha256 of everything that the training depends on, but for the number of epochs."""
    document = {
        "spec": spec.identity(),
        "classes": list(images.classes),
        "contents": sha256_of(images.contents[used].tobytes()),
        "labels": sha256_of(images.labels[used].tobytes() + images.split_codes[used].tobytes()),
        "groups": sha256_of(images.groups[used].tobytes()),
        "decoded": sha256_of(decoded.is_decoded.tobytes()),
        "augmentation": asdict(settings.augmentation),
        **{name: getattr(settings, name) for name in ("patience", "learning_rate", "batch_size", "seed")},
    }
    return sha256_of(canonical_json(document).encode())
