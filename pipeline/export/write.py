"""`export_model`: conv base and head as one file for those who have nothing of this package."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conv_base.keras_setup import one_line, run_isolated
from pipeline.conv_base.precision import with_precision
from pipeline.defaults import FORMATS
from pipeline.errors import ExportError
from pipeline.export.assemble import assemble_model, find_head
from pipeline.export.record import EXTRAS, KEY, RECORD_FILE, ExportRecord, with_record
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.durable import is_replaceable, make_directory, replace_directory, write_durably
from pipeline.store import FeatureStore

ONNX_PACKAGES = ("onnx", "tf2onnx")
SAVED_MODEL = "saved_model.pb"  # in every SavedModel
PARTS = {SAVED_MODEL, "fingerprint.pb", "keras_metadata.pb", "variables", "assets", EXTRAS}  # that it may have
STARTS = {"keras": rb"PK\x03\x04", "tflite": rb".{4}TFL3", "onnx": rb"\x08"}  # of files, for `is_replaceable`


def export_model(
    store: FeatureStore,
    head: Any,
    file: str | Path,
    *,
    form: str = "image",
    format: str | None = None,
    callbacks: Callbacks = SILENT,
) -> ExportRecord:
    """Write conv base and head as one model, whole or not at all.

    Parameters
    ----------
    store : FeatureStore
    head : str or Head
        The name of a saved head, or a fitted one.
    file : path
        Replaced if it is a model of this format; a directory for a SavedModel.
    form : {"image", "slides"}
        See `assemble_model`.
    format : {"keras", "savedmodel", "tflite", "onnx"}, optional
        By the file's extension if not given; without one it is a SavedModel. A `.keras` file needs
        TensorFlow with Keras to run, the others less. TensorFlow Lite and ONNX compute in float32,
        whatever the store's precision, and do not round features to the store's dtype.
    callbacks : Callbacks, optional

    Returns
    -------
    ExportRecord
        What the file says of itself.

    Raises
    ------
    ExportError
        The format is unknown or does not fit the name, something else stands there, the format
        cannot express the store's resizing or the model, or packages are missing (`onnx` and
        `tf2onnx`, which are optional).
    HeadError, StoreMismatch, SpecError
        See `assemble_model`.
    OSError
        The disk is full, say; what was at `file` is still there.
    """
    file = Path(file)
    format = check_request(store, file, form=form, format=format)
    trained = find_head(store, head)
    model = assemble_model(store, trained, form=form, callbacks=callbacks)
    record = ExportRecord(
        form=form,
        head=trained.name,
        head_sha256=getattr(trained, "model_sha256_", None),
        classes=tuple(store.classes),
        fingerprint=store.fingerprint,
        input=input_words(store, form, format),
        output=output_words(store.classes),
    )
    make_directory(file.parent)
    _WRITERS[format](model, record, file)
    return record


def check_request(store: FeatureStore, file: Path, *, form: str, format: str | None) -> str:
    """The format to write a file in, after every check that needs no head and no conv base.

    Raises
    ------
    ExportError
        See `export_model`.
    """
    format = format_of(file, format)
    if form == "image" and format in ("tflite", "onnx") and store.spec.resize == "antialias":
        raise ExportError(
            f"{file}: {format} has no antialiased resizing, with which {store.directory} was made; write a .keras file "
            "or a SavedModel, or make a store with --resize bilinear"
        )
    if format == "onnx" and None in map(find_spec, ONNX_PACKAGES):
        raise ExportError(f"{file}: ONNX needs packages that are not installed: pip install {' '.join(ONNX_PACKAGES)}")
    return format


def format_of(file: Path, format: str | None = None) -> str:
    """The format to write a file in, after a look at its name and at what stands there.

    Raises
    ------
    ExportError
        See `export_model`.
    """
    names = {suffix: name for name, suffix in FORMATS.items()}
    if format is None and file.suffix not in names:
        ways = ", ".join(suffix for suffix in names if suffix)
        raise ExportError(f"{file}: no format is called {file.suffix}; end the name in {ways}, or in nothing")
    format = format or names[file.suffix]
    if format not in FORMATS:
        raise ExportError(f"format {format!r} is not one of {', '.join(FORMATS)}")
    if format == "keras" and file.suffix != FORMATS["keras"]:
        raise ExportError(f"{file}: Keras loads a model only from a name that ends in .keras")
    if format != "savedmodel" and file.is_dir():
        raise ExportError(f"{file} is a directory; give the name of a file")
    if not (_gives_way(file) if format == "savedmodel" else is_replaceable(file, STARTS[format])):
        kind = "SavedModel alone" if format == "savedmodel" else f"{format} model"
        raise ExportError(f"{file} exists and is no {kind}; give another name, or remove it")
    return format


def _gives_way(directory: Path) -> bool:
    """Whether nothing is there but a SavedModel."""
    if not directory.is_dir():
        return not directory.exists()
    names = {path.name for path in directory.iterdir()}
    return SAVED_MODEL in names and names <= PARTS


def input_words(store: FeatureStore, form: str, format: str = "keras") -> str:
    """What the model takes, for people."""
    if form == "image":
        numbers = "uint8 or float" if format == "keras" else "float32"
        return f"RGB images of any size, (batch, height, width, 3), {numbers} in 0..255, upright"
    spec = store.spec
    height, width = spec.height_width
    done = f"preprocess_input of {spec.conv_base}" if spec.preprocessing == "own" else f"{spec.preprocessing!r}"
    return f"RGB images of {height}x{width} after preprocessing by {done}, (batch, {height}, {width}, 3), float32"


def output_words(classes: tuple[str, ...]) -> str:
    """What the model gives, for people."""
    if len(classes) == 2:
        return f"the probability of {classes[1]}, (batch, 1); that of {classes[0]} is the rest to 1"
    return f"the probability of each class, (batch, {len(classes)}), in the order {', '.join(classes)}"


def _write_keras(model: Any, record: ExportRecord, file: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        saved = Path(directory, "model.keras")
        model.save(saved)
        data = saved.read_bytes()
    write_durably(file, with_record(data, record))


def _write_saved_model(model: Any, record: ExportRecord, file: Path) -> None:
    with replace_directory(file) as directory:
        model.export(directory, format="tf_saved_model", verbose=False)
        extras = directory / EXTRAS
        extras.mkdir()
        (extras / RECORD_FILE).write_text(record.to_json())


def _write_tflite(model: Any, record: ExportRecord, file: Path) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as directory:
        run_isolated(with_precision, model, "float32").export(directory, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        data = _converted("TensorFlow Lite", converter.convert)
        with_extras = Path(directory, "model.tflite")
        with_extras.write_bytes(data)
        with zipfile.ZipFile(with_extras, "a") as extras:
            extras.writestr(RECORD_FILE, record.to_json())
            extras.writestr("labels.txt", "\n".join(record.classes).encode("utf-8", "surrogateescape"))
        write_durably(file, with_extras.read_bytes())


def _write_onnx(model: Any, record: ExportRecord, file: Path) -> None:
    try:
        import onnx
        import tf2onnx  # noqa: F401  # Keras imports it late and says less
    except ImportError as error:
        raise ExportError(
            f"{file}: the packages of ONNX cannot be loaded: pip install {' '.join(ONNX_PACKAGES)} ({one_line(error)})"
        ) from None
    plain = run_isolated(with_precision, model, "float32")
    with tempfile.TemporaryDirectory() as directory:
        saved = str(Path(directory, "model.onnx"))
        plain(np.zeros([side or 1 for side in plain.input_shape], np.float32))  # Keras wants it to have been called
        _converted("ONNX", lambda: plain.export(saved, format="onnx", verbose=False))
        graph = onnx.load(saved)
    onnx.helper.set_model_props(graph, {KEY: record.to_json()})
    write_durably(file, graph.SerializeToString())


def _converted(what: str, convert: Callable[[], Any]) -> Any:
    try:
        return convert()
    except Exception as error:  # a converter meets an operation it does not know with anything
        raise ExportError(f"the converter to {what} cannot express this model: {one_line(error)}") from error


_WRITERS: dict[str, Callable[[Any, ExportRecord, Path], None]] = {
    "keras": _write_keras,
    "savedmodel": _write_saved_model,
    "tflite": _write_tflite,
    "onnx": _write_onnx,
}
