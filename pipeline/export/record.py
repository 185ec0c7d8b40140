"""An exported model from outside: what its file says of itself, and how it is asked.

Each format has a place for what a file says of itself, which readers that do not know it pass over:
`metadata.json` inside a `.keras` file, `assets.extra/` of a SavedModel, a zip at the end of a
`.tflite` file (as TensorFlow Lite's own metadata has it), `metadata_props` of an ONNX model.
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conv_base.isolation import import_keras, one_line
from pipeline.conv_base.user_file import check_untrusted_archive
from pipeline.errors import ExportError

KEY = "cached_feature_pipeline"
METADATA = "metadata.json"  # inside a .keras file; Keras writes its version there
RECORD_FILE = f"{KEY}.json"
EXTRAS = "assets.extra"  # of a SavedModel: where TensorFlow leaves room for others' files
FORMAT = 1  # of the record

Predict = Callable[[np.ndarray], np.ndarray]
Shape = tuple[int | None, ...]  # as Keras has it, None for any number


@dataclass(frozen=True)
class ExportRecord:
    """What an exported file says of itself, as JSON.

    Attributes
    ----------
    form : {"image", "slides"}
    head : str
        The name of the head.
    head_sha256 : str or None
        Of the saved head's model; None where the head was never saved.
    classes : tuple of str
        The names of the columns; of two classes the one column is that of the second.
    fingerprint : str
        Of the store's spec.
    input, output : str
        For people.
    format : int
    """

    form: str
    head: str
    head_sha256: str | None
    classes: tuple[str, ...]
    fingerprint: str
    input: str
    output: str
    format: int = FORMAT

    def to_json(self) -> str:
        """The text that goes into the file."""
        return json.dumps(asdict(self), indent=1)


def with_record(keras_file: bytes, record: ExportRecord) -> bytes:
    """A `.keras` file with the record in its metadata."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(keras_file)) as source, zipfile.ZipFile(packed, "w") as target:
        for member in source.infolist():
            data = source.read(member)
            if member.filename == METADATA:
                data = json.dumps({**json.loads(data), KEY: asdict(record)}, indent=1).encode()
            target.writestr(member, data)
    return packed.getvalue()


def read_record(path: Path) -> ExportRecord:
    """What a `.keras` file says of itself, after the file was checked for anything that could run code.

    Raises
    ------
    ExportError
        The file is missing or hostile, or was not written by `export`, or Keras has saved it anew since.
    """
    try:
        check_untrusted_archive(path)
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(METADATA))[KEY]
        record = ExportRecord(**{**found, "classes": _names(found["classes"])})
    except (KeyError, TypeError) as error:
        raise ExportError(
            f"{path} does not say which store and head it was made of ({one_line(error)}); it was not written by "
            "`python -m pipeline export`, or Keras has saved it again: export it anew"
        ) from None
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} is refused: {one_line(error)}") from error
    wrong = [name for name, kind in _KINDS.items() if not isinstance(getattr(record, name), kind)]
    if wrong or record.format != FORMAT:
        problem = f"garbles {', '.join(wrong)}" if wrong else f"is of format {record.format}, not {FORMAT}"
        raise ExportError(f"{path}: what it says of itself {problem}; export it anew")
    return record


_KINDS = {"form": str, "head": str, "head_sha256": str | None, "classes": tuple, "fingerprint": str}


def _names(classes: Any) -> Any:
    whole = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return tuple(classes) if whole else None


def load_exported(path: Path, format: str, shapes: tuple[Shape, Shape] | None = None) -> Predict:
    """A function from one batch of images to probabilities, (1, h, w, 3) float32 -> (1, columns).

    Only a `.keras` file may come from a stranger, after `read_record` has checked it.

    Parameters
    ----------
    path : Path
    format : {"keras", "savedmodel", "tflite", "onnx"}
    shapes : tuple of two tuples of int or None, optional
        What a `.keras` file must take and give: (batch, height, width, channels) and (batch, columns).

    Raises
    ------
    ExportError
        The file cannot be loaded or has other shapes, or, when it is called, cannot be run; CannotBeTried
        where a package for it is missing.
    """
    with _refusing(path):
        predict = _LOADERS[format](path) if shapes is None else _load_keras(path, shapes)

    def refusing(images: np.ndarray) -> np.ndarray:
        with _refusing(path):
            return predict(images)

    return refusing


class CannotBeTried(ExportError):
    """A package that would run the file is not installed; the file may be good."""


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise CannotBeTried(f"{path} cannot be run here: pip install onnxruntime ({one_line(error)})") from None
    except Exception as error:  # the libraries raise anything over a malformed file
        raise ExportError(f"{path} is refused: {one_line(error)}") from error


def _load_keras(path: Path, shapes: tuple[Shape, Shape] | None = None) -> Predict:
    import tensorflow as tf

    model = import_keras().models.load_model(path, compile=False, safe_mode=True)
    found = model.input_shape, model.output_shape
    for does, its, expected in zip(("takes", "gives"), found, shapes or found, strict=True):
        if its != expected:
            raise ValueError(f"its model {does} arrays of shape {its}, not {expected}; export it anew")
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]  # one trace for images of any size
    forward = tf.function(lambda images: model(images, training=False), input_signature=signature, autograph=False)
    return lambda images: forward(images).numpy()


def _load_saved_model(path: Path) -> Predict:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda images: loaded.serve(images).numpy()


def _load_tflite(path: Path) -> Predict:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_path=str(path))
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(images: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(takes["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(takes["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(gives["index"])

    return predict


def _load_onnx(path: Path) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


_LOADERS: dict[str, Callable[[Path], Any]] = {
    "keras": _load_keras,
    "savedmodel": _load_saved_model,
    "tflite": _load_tflite,
    "onnx": _load_onnx,
}
