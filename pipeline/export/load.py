"""Load an exported model of any of the four formats as a function from images to probabilities."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline.conv_base.int8 import Interpreter
from pipeline.conv_base.keras_setup import import_keras, import_keras_hub, one_line
from pipeline.conv_base.precision import disable_tensor_float_32
from pipeline.errors import ExportError
from pipeline.files.file_structure import needs_keras_hub

Predict = Callable[[np.ndarray], np.ndarray]
Shapes = tuple[tuple[int | None, ...], tuple[int | None, ...]]  # of input and output, None for any number


def load_exported(path: Path, format: str, shapes: Shapes | None = None) -> Predict:
    """Load an exported model as a function from images of shape (1, h, w, 3), float32, to probabilities (1, columns).

    Only a `.keras` or `.tflite` file may be untrusted, and only after `read_record` has checked it. `shapes` are
    those of the arrays that it must take and give: (batch, height, width, channels) and (batch, columns).
    A model that cannot be loaded or run raises ExportError, and CannotBeTried if a package is missing.
    """
    disable_tensor_float_32()
    with _export_errors(path):
        predict = CHECKED[format](path, shapes) if format in CHECKED else TRUSTED[format](path)
    return _export_errors(path)(predict)


class CannotBeTried(ExportError):
    """A package that is needed to run the file is not installed."""


@contextlib.contextmanager
def _export_errors(path: Path) -> Iterator[None]:
    """Raise any error as an ExportError."""
    try:
        yield
    except ImportError as error:
        raise CannotBeTried(f"{path} cannot be run here: pip install onnxruntime ({one_line(error)})") from None
    except Exception as error:  # the libraries raise errors of any type for a malformed file
        raise ExportError(f"{path} is refused: {one_line(error)}") from error


def _check_shapes(actual: Shapes, shapes: Shapes | None) -> None:
    for verb, shape, expected in zip(("takes", "gives"), actual, shapes or actual, strict=True):
        if shape != expected:
            raise ValueError(f"its model {verb} arrays of shape {shape}, not {expected}; export it again")


def _load_keras(path: Path, shapes: Shapes | None) -> Predict:
    import tensorflow as tf

    if needs_keras_hub(path):
        import_keras_hub(path)
    model = import_keras().models.load_model(path, compile=False, safe_mode=True)
    _check_shapes((model.input_shape, model.output_shape), shapes)
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]  # one trace for images of any size
    forward = tf.function(lambda images: model(images, training=False), input_signature=signature, autograph=False)
    return lambda images: forward(images).numpy()


def _load_saved_model(path: Path) -> Predict:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda images: loaded.serve(images).numpy()


def _load_tflite(path: Path, shapes: Shapes | None) -> Predict:
    interpreter = Interpreter(path.read_bytes())
    _check_shapes(interpreter.shapes, shapes)
    return interpreter.run


def _load_onnx(path: Path) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


CHECKED = {"keras": _load_keras, "tflite": _load_tflite}
TRUSTED = {"savedmodel": _load_saved_model, "onnx": _load_onnx}
