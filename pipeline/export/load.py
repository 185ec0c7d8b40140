"""Load an exported model of any of the four formats as a function from images to probabilities."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conv_base.keras_setup import import_keras, one_line
from pipeline.conv_base.precision import disable_tensor_float_32
from pipeline.errors import ExportError

Predict = Callable[[np.ndarray], np.ndarray]
Shape = tuple[int | None, ...]  # as Keras writes it, None for any number


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
    disable_tensor_float_32()
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
