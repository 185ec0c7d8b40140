"""Train a conv base end to end on the images and write it as a .keras file, for `features --conv-base FILE`."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from typing import Any

from pipeline import defaults
from pipeline.cli import console
from pipeline.cli.display.words import print_classes
from pipeline.cli.option_types import COUNT, NUMBER, SETTINGS
from pipeline.cli.shared_options import (
    add_images_argument,
    add_max_bad,
    add_spec_options,
    add_split_options,
    select_options,
    spec_from_options,
)
from pipeline.text import COMMAND, format_size

SPEC_FIELDS = ("conv_base", "conv_base_args", "weights", "size", "preprocessing", "resize", "decode")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `train-base`."""
    from pipeline.images.augment import Augmentation

    add_images_argument(parser)
    text = "the file to write, NAME.keras; an older .keras file is replaced"
    parser.add_argument("--out", required=True, metavar="FILE", help=text)
    add_spec_options(parser.add_argument_group("conv base"), only=SPEC_FIELDS, weights="random")
    images = parser.add_argument_group("images")
    add_split_options(images)
    add_max_bad(images)
    training = parser.add_argument_group("training")
    training.add_argument("--epochs", **COUNT, default=defaults.BASE_EPOCHS, help="largest number of epochs")
    text = "stop after N epochs without a lower loss on a held-out tenth of the train images; keep the best weights"
    training.add_argument("--patience", **COUNT, default=defaults.BASE_PATIENCE, help=text)
    rates = f"{defaults.BASE_RATE:g} for random weights, {defaults.PRETRAINED_RATE:g} for others"
    text = f"first learning rate of Adam, which is halved after 4 epochs without a lower loss (default: {rates})"
    training.add_argument("--learning-rate", **NUMBER, help=text)
    training.add_argument("--batch-size", **COUNT, default=defaults.HEAD_BATCH, help="images per training step")
    text = "seed of random weights, of the order of images and of the augmentation"
    training.add_argument("--seed", type=int, default=0, metavar="N", help=text)
    training.add_argument("--workers", **COUNT, help="threads that decode images (default: one per core)")
    helps = {field.name: field.metadata["help"] for field in fields(Augmentation)}
    ranges = {**defaults.BASE_AUGMENTATION, "brightness": 0}
    listed = "; ".join(f"{name}={json.dumps(value)}: {helps[name]}" for name, value in ranges.items())
    text = f"setting of the augmentation, drawn anew in each epoch. {listed}; can be repeated"
    training.add_argument("--augment", **SETTINGS, help=text)


def run(options: argparse.Namespace) -> int:
    """Train a conv base and show how to use it."""
    console.start_tensorflow_quietly()
    from pipeline.base_training import check_out, train_conv_base
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.conv_base.spec import find_kind
    from pipeline.images.augment import Augmentation
    from pipeline.images.scan import scan_images

    check_out(options.out)
    if find_kind(options.conv_base) != "zoo" and options.weights == "random":
        options.weights = "imagenet"  # the word for the weights that a file contains
    spec = spec_from_options(options, only=SPEC_FIELDS)
    augment = {**defaults.BASE_AUGMENTATION, "seed": options.seed, **dict(options.augment)}
    augmentation = Augmentation.from_settings(augment)
    with ConsoleCallbacks() as callbacks:
        images = scan_images(
            options.images,
            validation=options.validation,
            test=options.test,
            on_read=lambda done, total: callbacks.progress("reading", done, total, "files"),
        )
        console.say(f"images     {len(images)} in {options.images}")
        print_classes(images)
        console.list_some("skipped", [f"{path} {reason}" for path, reason in images.skipped])
        console.say(f"augment    {augmentation}")
        settings = select_options(
            options, "epochs", "patience", "learning_rate", "batch_size", "seed", "max_bad", "workers"
        )
        trained = train_conv_base(images, spec, options.out, augmentation=augmentation, callbacks=callbacks, **settings)
    _show(trained, options)
    return 0


def _show(trained: Any, options: argparse.Namespace) -> None:
    if trained.epochs < options.epochs:
        console.say(f"stopped after epoch {trained.epochs}: {options.patience} epochs without a lower loss")
    console.say(f"kept       epoch {trained.kept_epoch}, chosen on {trained.chosen_on} images")
    if trained.accuracy is not None:
        images = f"{trained.n_validation} validation images, with a temporary classifier"
        console.say(f"accuracy   {trained.accuracy:.4f} on {images}")
    console.say(f"wrote      {trained.file}, {format_size(trained.file.stat().st_size)}")
    console.say(
        f"to store its features: `{COMMAND} features {options.images} --cache DIR {_store_options(trained, options)}`"
    )


def _store_options(trained: Any, options: argparse.Namespace) -> str:
    """Return the options of `features` for the images and splits of this training."""
    from pipeline.conv_base.spec import ConvBaseSpec

    height, width = trained.spec.height_width
    given = {"conv-base": trained.file, "size": height if height == width else f"{height}x{width}"}
    usual = {
        "resize": ConvBaseSpec.resize,
        "decode": ConvBaseSpec.decode,
        "validation": defaults.VALIDATION,
        "test": defaults.TEST,
    }
    given |= {name: getattr(options, name) for name, value in usual.items() if getattr(options, name) != value}
    return " ".join(f"--{name} {value}" for name, value in given.items())
