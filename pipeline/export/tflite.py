"""Convert a Keras model to TensorFlow Lite, and join the int8 conv base of a store with a head."""

import re
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.conv_base.keras_setup import Model, import_keras, one_line, run_isolated
from pipeline.errors import ExportError
from pipeline.export.assemble import check_expressible
from pipeline.extraction.conv_base_loading import load_int8_conv_base
from pipeline.store import FeatureStore

Result = TypeVar("Result")


def convert(target: str, function: Callable[[], Result]) -> Result:
    """Call a converter to `target`, and raise any of its errors as an ExportError."""
    try:
        return function()
    except Exception as error:  # a converter raises errors of any type for an unknown operation
        raise ExportError(f"the converter to {target} cannot express this model: {one_line(error)}") from error


def keras_to_tflite(model: Model) -> bytes:
    """Return the `.tflite` file of a Keras model, which computes as the dtype policies of its layers say."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as directory:
        model.export(directory, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        return bytes(convert("TensorFlow Lite", converter.convert))


def keeps_int8(store: FeatureStore, format: str) -> bool:
    """Return whether a model of this format runs the int8 conv base of a store; the others compute it in float32."""
    return not store.is_joined and store.spec.precision == "int8" and format == "tflite"


def int8_to_tflite(store: FeatureStore, head: Any) -> bytes:
    """Return the `.tflite` file of an int8 store and a fitted head: resizing, the conv base of the store, the head.

    The conv base is the one that computed the features, unchanged, so an image of the input size has the features
    of the store bit for bit. The head computes in float32, after features are rounded to the store's dtype. The conv
    base in floats is not loaded, and its weights need not exist any more. A head without Keras layers raises
    HeadError; for SpecError see `load_int8`.
    """
    from pipeline.export.join_tflite import join_tflite, resize_model

    check_expressible(store, head)
    conv_base = load_int8_conv_base(store).model
    resize = convert("TensorFlow Lite", lambda: resize_model(*store.conv_base_spec.height_width))
    head_part = keras_to_tflite(run_isolated(_head_model, store, head))
    return join_tflite(join_tflite(resize, conv_base), head_part)


def _head_model(store: FeatureStore, head: Any) -> Model:
    from pipeline.heads.keras_layers import head_layers

    keras, dtype = import_keras(), store.spec.store_dtype
    rounding = [] if dtype == "float32" else [keras.layers.Identity(dtype=dtype, name="as_stored")]
    name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{head.name}-{store.fingerprint[:12]}")
    layers = [*rounding, *head_layers(head, store.classes)]
    return keras.Sequential([keras.Input(store.feature_shape, name="features"), *layers], name=name)
