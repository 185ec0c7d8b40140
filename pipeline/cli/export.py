"""`export`: one model to hand on."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli import console, display
from pipeline.errors import ExportError, ImagesError
from pipeline.export.assemble import find_head
from pipeline.export.load import CannotBeTried, load_exported
from pipeline.export.verify import compare_with_store
from pipeline.export.write import check_request, export_model
from pipeline.heads import KERAS_HEADS
from pipeline.store import FeatureStore, open_features
from pipeline.text import format_size
from pipeline.training.saved_heads import choose_head

CHECKED = 8  # images that a written file is tried on


def run(options: argparse.Namespace) -> int:
    """One model to hand on."""
    store, file = open_features(options.store), Path(options.file)
    format = check_request(store, file, form=options.form, format=options.format)
    name = _choose(store, options.head, options.form)
    console.start_tensorflow_quietly()
    head = find_head(store, name)
    record = export_model(store, head, file, form=options.form, format=format, callbacks=display.ConsoleCallbacks())
    console.say(f"wrote      {file}, {format_size(_bytes(file))}")
    console.say(f"input      {record.input}")
    console.say(f"output     {record.output}")
    if store.random_weights:
        display.warn_random_weights()
    try:
        predict, in_float32 = load_exported(file, format), format in ("tflite", "onnx")
        agreement = compare_with_store(store, head, predict, options.form, images=CHECKED, in_float32=in_float32)
    except (ImagesError, CannotBeTried) as error:
        console.warn(f"{file} is written but was not tried: {error}")
        return 0
    except ExportError as error:
        console.warn(f"{file} is written and does not run: {error}")
        return 1
    return display.show_agreement(str(file), agreement, store.spec.precision)


def _choose(store: FeatureStore, name: str | None, form: str) -> str:
    fit = ("dense",) if form == "slides" else KERAS_HEADS
    chosen = choose_head(store, name, among=fit)
    if name is None and chosen.scores:
        those = "the slides' form can hold" if form == "slides" else "Keras can express"
        accuracy = f"validation accuracy {chosen.scores.accuracy:.4f}"
        console.say(f"head       {chosen.name}: the best, {accuracy}, of those that {those}")
    display.warn_of_heads([chosen], store.directory)
    return chosen.name


def _bytes(file: Path) -> int:
    return sum(path.stat().st_size for path in (file.rglob("*") if file.is_dir() else [file]))
