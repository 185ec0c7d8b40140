"""Write conv base and head as one model file of any of four formats."""

import io
import tempfile
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conv_base.keras_setup import Model, all_layers, one_line, run_isolated
from pipeline.conv_base.precision import with_precision
from pipeline.defaults import FORMATS
from pipeline.errors import ExportError
from pipeline.export.assemble import assemble_model, find_head
from pipeline.export.record import EXTRAS, KEY, RECORD_FILE, ExportRecord, with_record
from pipeline.export.tflite import convert, int8_to_tflite, keeps_int8, keras_to_tflite
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.durable import is_replaceable, make_directory, replace_directory, write_durably
from pipeline.store import FeatureStore

ONNX_PACKAGES = ("onnx", "tf2onnx")
SAVED_MODEL = "saved_model.pb"  # a file of every SavedModel
PARTS = {SAVED_MODEL, "fingerprint.pb", "keras_metadata.pb", "variables", "assets", EXTRAS}  # of a SavedModel
FIRST_BYTES = {"keras": rb"PK\x03\x04", "tflite": rb".{4}TFL3", "onnx": rb"\x08"}


def export_model(
    store: FeatureStore,
    head: Any,
    file: str | Path,
    *,
    form: str = "image",
    format: str | None = None,
    callbacks: Callbacks = SILENT,
) -> ExportRecord:
    """Write conv base and head as one model file; after an error, an older file is still complete.

    Parameters
    ----------
    store : FeatureStore
    head : str or Head
        The name of a saved head, or a fitted head.
    file : path
        The file to write, a directory for a SavedModel. An older model of the same format is replaced.
    form : {"image", "slides"}
        See `assemble_model`.
    format : {"keras", "savedmodel", "tflite", "onnx"}, optional
        By default it follows from the file's suffix; no suffix means a SavedModel. Running a `.keras`
        file takes TensorFlow with Keras, the other formats take less. TensorFlow Lite and ONNX compute
        in float32 for any precision of the store, and do not round features to the store's dtype; but
        TensorFlow Lite of an int8 store runs the store's conv base and rounds, see `int8_to_tflite`.
    callbacks : Callbacks, optional

    Returns
    -------
    ExportRecord
        The record stored in the file.

    Raises
    ------
    ExportError
        The format is unknown or does not fit the file's name, the path exists and is not a model of
        this format, the format cannot express the store's resizing, the form or the model, or the
        optional packages `onnx` and `tf2onnx` are missing.
    HeadError, StoreMismatch, SpecError
        See `assemble_model`.
    OSError
        The file cannot be written, for instance because the disk is full.
    """
    file = Path(file)
    format = check_request(store, file, form=form, format=format)
    trained = find_head(store, head)
    record = ExportRecord(
        form=form,
        head=trained.name,
        head_sha256=getattr(trained, "model_sha256_", None),
        classes=tuple(store.classes),
        fingerprint=store.fingerprint,
        input=_describe_input(store, form, format),
        output=_describe_output(store.classes),
    )
    if keeps_int8(store, format):
        tflite_model = int8_to_tflite(store, trained)
        make_directory(file.parent)
        _write_tflite(tflite_model, record, file)
    else:
        model = assemble_model(store, trained, form=form, callbacks=callbacks)
        if format == "keras" and any(type(layer).__module__.startswith("keras_hub.") for layer in all_layers(model)):
            record = replace(record, input=f"{record.input}; `import keras_hub` before Keras loads the file")
        make_directory(file.parent)
        WRITERS[format](model, record, file)
    return record


def check_request(store: FeatureStore, file: Path, *, form: str = "image", format: str | None = None) -> str:
    """Return the format of a file to be written, after every check that needs no head and no conv base."""
    names = {suffix: name for name, suffix in FORMATS.items()}
    if format is None and file.suffix not in names:
        suffixes = ", ".join(suffix for suffix in names if suffix)
        raise ExportError(f"{file}: no format has the suffix {file.suffix}; use {suffixes}, or no suffix")
    format = format or names[file.suffix]
    if format not in FORMATS:
        raise ExportError(f"format {format!r} is not one of {', '.join(FORMATS)}")
    if format == "keras" and file.suffix != FORMATS["keras"]:
        raise ExportError(f"{file}: Keras loads a model only from a name that ends in .keras")
    if not (_is_replaceable_directory(file) if format == "savedmodel" else is_replaceable(file, FIRST_BYTES[format])):
        kind = "SavedModel without other files" if format == "savedmodel" else f"{format} model"
        raise ExportError(f"{file} exists and is not a {kind}; give another name, or remove it")
    if (
        form == "image"
        and format in ("tflite", "onnx")
        and any(part.conv_base_spec.resize == "antialias" for part in store.parts)
    ):
        raise ExportError(
            f"{file}: {format} has no antialiased resizing, which {store.directory} was made with; write a .keras file "
            "or a SavedModel, or make a store with --resize bilinear"
        )
    if form == "slides" and store.is_joined:
        raise ExportError(
            f"{file}: the slides' model has one conv base, and {store.directory} is joined of several; write the image "
            "form"
        )
    if form == "slides" and keeps_int8(store, format):
        raise ExportError(
            f"{file}: the slides' model takes preprocessed images, but the int8 conv base of {store.directory} "
            "preprocesses them itself; write the image form, or a .keras file, which computes in float32"
        )
    if format == "onnx" and None in map(find_spec, ONNX_PACKAGES):
        raise ExportError(f"{file}: ONNX needs packages that are not installed: pip install {' '.join(ONNX_PACKAGES)}")
    return format


def _is_replaceable_directory(directory: Path) -> bool:
    """Return whether a path does not exist, or is a directory that holds a SavedModel and nothing else."""
    if not directory.is_dir():
        return not directory.exists()
    names = {path.name for path in directory.iterdir()}
    return SAVED_MODEL in names and names <= PARTS


def _describe_input(store: FeatureStore, form: str, format: str) -> str:
    if form == "image":
        numbers = "uint8 or float" if format == "keras" else "float32"
        return f"RGB images of any size, (batch, height, width, 3), {numbers} in 0..255, upright"
    spec = store.conv_base_spec
    height, width = spec.height_width
    if spec.kind == "file" and spec.preprocessing == "own":
        return f"RGB images of {height}x{width}, (batch, {height}, {width}, 3), float32 in 0..255"
    own = f"the config of {spec.name}" if spec.is_path else f"preprocess_input of {spec.conv_base}"
    method = own if spec.preprocessing == "own" else f"{spec.preprocessing!r}"
    return f"RGB images of {height}x{width} after preprocessing by {method}, (batch, {height}, {width}, 3), float32"


def _describe_output(classes: tuple[str, ...]) -> str:
    if len(classes) == 2:
        return f"the probability of {classes[1]}, (batch, 1); that of {classes[0]} is 1 minus it"
    return f"the probability of each class, (batch, {len(classes)}), in the order {', '.join(classes)}"


def _write_keras(model: Model, record: ExportRecord, file: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        saved = Path(directory, "model.keras")
        model.save(saved)
        data = saved.read_bytes()
    write_durably(file, with_record(data, record))


def _write_saved_model(model: Model, record: ExportRecord, file: Path) -> None:
    with replace_directory(file) as directory:
        model.export(directory, format="tf_saved_model", verbose=False)
        extras = directory / EXTRAS
        extras.mkdir()
        (extras / RECORD_FILE).write_text(record.to_json())


def _write_float_tflite(model: Model, record: ExportRecord, file: Path) -> None:
    _write_tflite(keras_to_tflite(run_isolated(with_precision, model, "float32")), record, file)


def _write_tflite(model: bytes, record: ExportRecord, file: Path) -> None:
    data = io.BytesIO(model)
    with zipfile.ZipFile(data, "a") as extras:
        extras.writestr(RECORD_FILE, record.to_json())
        extras.writestr("labels.txt", "\n".join(record.classes).encode("utf-8", "surrogateescape"))
    write_durably(file, data.getbuffer())


def _write_onnx(model: Model, record: ExportRecord, file: Path) -> None:
    try:
        import onnx
        import tf2onnx  # noqa: F401  # Keras imports it later, with a less clear error
    except ImportError as error:
        raise ExportError(
            f"{file}: the packages of ONNX cannot be loaded: pip install {' '.join(ONNX_PACKAGES)} ({one_line(error)})"
        ) from None
    in_float32 = run_isolated(with_precision, model, "float32")
    with tempfile.TemporaryDirectory() as directory:
        saved = str(Path(directory, "model.onnx"))
        # Keras exports only a model that was called.
        in_float32(np.zeros([side or 1 for side in in_float32.input_shape], np.float32))
        convert("ONNX", lambda: in_float32.export(saved, format="onnx", verbose=False))
        graph = onnx.load(saved)
    onnx.helper.set_model_props(graph, {KEY: record.to_json()})
    write_durably(file, graph.SerializeToString())


WRITERS = {"keras": _write_keras, "savedmodel": _write_saved_model, "tflite": _write_float_tflite, "onnx": _write_onnx}
