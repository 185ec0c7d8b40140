"""`train_conv_base`: train a conv base end to end on images and write it as a `.keras` file."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.base_training.plan import used_images
from pipeline.base_training.run_training import FinishedTraining, Settings, run_training
from pipeline.base_training.train_images import add_train_images, read_train_images
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.defaults import (
    BASE_AUGMENTATION,
    BASE_EPOCHS,
    BASE_PATIENCE,
    BASE_RATE,
    HEAD_BATCH,
    MAX_BAD,
    PRETRAINED_RATE,
)
from pipeline.errors import PipelineError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.durable import is_replaceable, make_directory, remove_temporaries, write_durably
from pipeline.files.lock import lock_directory
from pipeline.images.augment import Augmentation
from pipeline.images.table import ImageTable

FIRST_BYTES = rb"PK\x03\x04"  # of a `.keras` file


@dataclass(frozen=True)
class TrainedConvBase:
    """A trained conv base and how its training went."""

    file: Path
    spec: ConvBaseSpec  # with which the file is used
    epochs: int  # that were run
    kept_epoch: int  # the epoch whose weights the file holds
    chosen_on: str  # the images whose loss chose it: "held-out", "validation" or "train"
    accuracy: float | None  # of conv base and temporary classifier on the validation images; None without any
    n_validation: int
    history: dict[str, list[float]] = field(default_factory=dict)  # losses and accuracies, one value per epoch


def train_conv_base(
    images: ImageTable,
    spec: ConvBaseSpec,
    out: str | Path,
    *,
    epochs: int = BASE_EPOCHS,
    patience: int = BASE_PATIENCE,
    learning_rate: float | None = None,
    batch_size: int = HEAD_BATCH,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    max_bad: float = MAX_BAD,
    workers: int | None = None,
    callbacks: Callbacks = SILENT,
) -> TrainedConvBase:
    """Train a conv base end to end on the train images and write it as a `.keras` file.

    Interrupted and called again, it continues after the last complete epoch, with the same result as without
    interruption. The loss is cross-entropy, the optimiser Adam; the learning rate is halved after 4 epochs without a
    lower loss. The epoch is chosen on a tenth of the train images that is held out, or on the validation images where
    that tenth has fewer than 20 images. Test images are not read. The file names the images that it was trained on,
    see `scored_train_images`.

    Parameters
    ----------
    images : ImageTable
        The images, as `scan_images` returns them.
    spec : ConvBaseSpec
        The conv base to start from and the images that it takes; `weights="random"` starts from Keras' initialisers.
        With other weights, normalisation layers keep theirs and their statistics, as in fine-tuning.
        Cut, precision and `store_dtype` have no effect: all layers are trained, in float32.
    out : path
        The file to write, `*.keras`; an older `.keras` file is replaced. `OUT.training` beside it is a directory with
        the decoded images and the state of the training, and is removed at the end.
    epochs : int
        Largest number of passes over the train images.
    patience : int
        Stop after this many epochs without a lower loss; the weights of the best epoch are written in any case.
    learning_rate : float, optional
        First step size of Adam; 1e-3 for random weights and 1e-4 for others if not given.
    batch_size : int
        Images per step.
    augmentation : Augmentation, optional
        Random changes of the images, new in each epoch; by default those of `BASE_AUGMENTATION` in
        `pipeline.defaults`, which do not mirror.
    seed : int
        Seed of random weights, the order of images and the dropout.
    max_bad : float
        The largest accepted fraction of images that cannot be decoded.
    workers : int, optional
        Threads that decode images; one per core if not given.
    callbacks : Callbacks, optional
        `conv_base_loading`, `base_training_planned`, `progress`, `image_rejected`, `finetune_resumed` and
        `epoch_done` are called.

    Returns
    -------
    TrainedConvBase
        The conv base of its `.spec` takes RGB images and preprocesses them itself.

    Raises
    ------
    SpecError
        The conv base cannot be loaded.
    ImagesError
        The train images are of fewer than two classes.
    TooManyBadImages
        More images than `max_bad` cannot be decoded.
    HeadError
        The loss is no longer finite.
    StoreBusy
        Another process trains for the same file.
    PipelineError
        `out` is not a `.keras` file, or the disk has no room for the decoded images.
    KeyboardInterrupt
        All complete epochs are kept; the same call continues.
    """
    out = check_out(out)
    make_directory(out.parent)
    augmentation = augmentation or Augmentation.from_settings(BASE_AUGMENTATION)
    if learning_rate is None:
        learning_rate = BASE_RATE if spec.weights == "random" else PRETRAINED_RATE
    settings = Settings(epochs, patience, learning_rate, batch_size, augmentation, seed, max_bad, workers)
    _check_settings(settings)
    directory = out.with_name(f"{out.name}.training")
    with lock_directory(directory):
        remove_temporaries(directory)
        finished = run_training(images, spec, directory, settings, callbacks)
        _write(finished, out, images, spec)
    shutil.rmtree(directory, ignore_errors=True)
    return _result(finished, spec, out)


def check_out(out: str | Path) -> Path:
    """Return the path of the file to be written; raise PipelineError if that would replace something else."""
    out = Path(out)
    if out.suffix != ".keras":
        raise PipelineError(f"{out}: Keras loads a model only from a name that ends in .keras")
    if not is_replaceable(out, FIRST_BYTES):
        raise PipelineError(f"{out} exists and is not a keras model; give another name, or remove it")
    return out


def _check_settings(settings: Settings) -> None:
    for name in ("epochs", "patience", "batch_size"):
        if (value := getattr(settings, name)) < 1:
            raise PipelineError(f"{name} {value} is not a whole number of 1 or more")
    if not settings.learning_rate > 0:
        raise PipelineError(f"learning_rate {settings.learning_rate} is not above 0")


def _write(finished: FinishedTraining, out: Path, images: ImageTable, spec: ConvBaseSpec) -> None:
    """Write the file with the list of the images that chose its weights, those of earlier trainings among them."""
    rows = np.concatenate([finished.rows.train, finished.rows.held_out])
    earlier = read_train_images(Path(spec.conv_base)) if spec.kind == "file" else None
    with tempfile.TemporaryDirectory() as directory:
        saved = Path(directory, "model.keras")
        finished.base.save(saved)
        add_train_images(saved, images.contents[used_images(images)[rows]], earlier)
        data = saved.read_bytes()
    write_durably(out, data)


def _result(finished: FinishedTraining, spec: ConvBaseSpec, out: Path) -> TrainedConvBase:
    loop, rows = finished.loop, finished.rows
    scores = loop.history.get("val_accuracy")
    return TrainedConvBase(
        file=out,
        spec=ConvBaseSpec(str(out), size=spec.size, resize=spec.resize, decode=spec.decode),
        epochs=loop.done,
        kept_epoch=loop.best_epoch,
        chosen_on="held-out" if len(rows.held_out) else "validation" if len(rows.validation) else "train",
        accuracy=scores[loop.best_epoch - 1] if scores else None,
        n_validation=len(rows.validation),
        history=loop.history,
    )
