"""Quantise a conv base to 8-bit integers, calibrated on images."""

import numpy as np

from pipeline.conv_base.keras_setup import Model, one_line
from pipeline.errors import SpecError
from pipeline.files.native_stderr import native_stderr_hidden


def quantize(model: Model, images: np.ndarray) -> bytes:
    """Return a model of TensorFlow Lite that computes as a float32 conv base does, but in 8-bit integers.

    Weights have a scale for each output channel, activations one for each tensor, which are set so that the values
    that `images`, (n, height, width, 3) float32 in 0..255, cause fit (Jacob et al., 2018, arXiv:1712.05877). Input and
    output stay float32. The same model and images give the same bytes. SpecError says that an operation of the
    model has no form in integers.
    """
    try:
        with native_stderr_hidden():
            return _convert(model, images)
    except Exception as error:  # the converter raises errors of any type for an unknown operation
        raise SpecError(f"{model.name} cannot be computed in int8: {one_line(error)}") from error


def _convert(model: Model, images: np.ndarray) -> bytes:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="images")
    forward = tf.function(lambda images: model(images, training=False), autograph=False)
    # The calibration cannot read variables.
    frozen = convert_variables_to_constants_v2(forward.get_concrete_function(signature))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())
