"""Combine conv base and head into one model, image in, probability out, and test the written file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import defaults
from pipeline.cli import console
from pipeline.text import counted, format_size

if TYPE_CHECKING:
    from pipeline.export.verify import Agreement
    from pipeline.store import FeatureStore

TEST_IMAGES = 8  # on which a written file is compared with features and head


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `export`."""
    parser.add_argument("store", metavar="DIR", help="store with trained heads")
    text = "model.keras, model.tflite, model.onnx, or a directory for a SavedModel; an older model is replaced"
    parser.add_argument("file", metavar="FILE", help=text)
    text = "a saved head (default: the best validation accuracy among heads that Keras can express)"
    parser.add_argument("--head", metavar="NAME", help=text)
    text = (
        "image: takes RGB images of any size and resizes them; slides: conv base, flatten and dense head in one "
        "Sequential, takes preprocessed images"
    )
    parser.add_argument("--form", choices=defaults.FORMS, default=defaults.FORMS[0], help=text)
    parser.add_argument("--format", choices=tuple(defaults.FORMATS), help="default: by the suffix of FILE")


def run(options: argparse.Namespace) -> int:
    """Export a model; return 1 if the written file does not agree with features and head."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.cli.display.words import warn_of_random_weights
    from pipeline.errors import ExportError, ImagesError
    from pipeline.export.assemble import find_head
    from pipeline.export.load import CannotBeTried, load_exported
    from pipeline.export.verify import compare_with_store
    from pipeline.export.write import check_request, export_model
    from pipeline.heads import KERAS_HEADS
    from pipeline.store import open_features
    from pipeline.training.best_head import choose_head

    store, file = open_features(options.store), Path(options.file)
    format = check_request(store, file, form=options.form, format=options.format)
    slides = options.form == "slides"
    chosen = choose_head(store, options.head, among=("dense",) if slides else KERAS_HEADS)
    if options.head is None and chosen.trained:
        accuracy = f"validation accuracy {chosen.trained.evaluation.accuracy:.4f}"
        candidates = "the slides' form can hold" if slides else "Keras can express"
        console.say(f"head       {chosen.name}: the best, {accuracy}, of those that {candidates}")
    console.start_tensorflow_quietly()
    head = find_head(store, chosen.name)
    record = export_model(store, head, file, form=options.form, format=format, callbacks=ConsoleCallbacks())
    size = sum(path.stat().st_size for path in (file.rglob("*") if file.is_dir() else [file]))
    console.say(f"wrote      {file}, {format_size(size)}")
    console.say(f"input      {record.input}")
    console.say(f"output     {record.output}")
    warn_of_random_weights(store)
    try:
        predict = load_exported(file, format)
        agreement = compare_with_store(store, head, predict, options.form, format=format, images=TEST_IMAGES)
    except (ImagesError, CannotBeTried) as error:
        console.warn(f"{file} is written but could not be tested: {error}")
        return 0
    except ExportError as error:
        console.warn(f"{file} is written and does not run: {error}")
        return 1
    return show_agreement(store, str(file), agreement)


def show_agreement(store: FeatureStore, file: str, agreement: Agreement) -> int:
    """Print how far an exported model differs from features and head; return the exit status."""
    precision = store.spec.precision
    console.say(
        f"{file} against features and head on {counted(agreement.images, 'image')}: the largest difference in "
        f"a probability is {agreement.largest:.1e}, the median {agreement.median:.1e}; "
        f"{agreement.other_labels} other labels"
    )
    if agreement.in_float32 and precision == "int8":
        hint = "" if store.is_joined else "; a .tflite file keeps int8"
        console.say(f"{file} computes the conv base in float32, the store in int8{hint}")
    if agreement.holds:
        return 0
    console.warn(f"that is more than {precision} explains: {agreement.bound:g}, or a tenth of it in the median")
    return 1
