"""Change the number format in which a model computes, and measure which format is faster."""

import logging
import math
import time
from typing import Any

import numpy as np

from pipeline.conv_base.joined_spec import AnySpec, JoinedSpec
from pipeline.conv_base.keras_setup import Model, import_keras
from pipeline.conv_base.weights import set_weights

logger = logging.getLogger(__name__)

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# Maximum relative L2 error of a row that is computed again, perhaps on another machine. Between four ways
# to compute on a CPU (oneDNN with three instruction sets, Eigen) the rows of VGG16, ResNet50 and MobileNetV2
# differ by up to 2e-6 in float32, 0.015 in bfloat16, whose mantissa has 8 bits, and 0.0015 in float16.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.01, "int8": 0.01}
MIN_SPEEDUP = 1.2  # over float32, for a shorter format to be chosen
TENSOR_CORES = (7, 0)  # lowest CUDA compute capability with tensor cores


def tolerance_of(spec: AnySpec) -> float:
    """Return the maximum relative L2 error of a row that is computed again, the largest of a joined store's parts."""
    parts = spec.parts if isinstance(spec, JoinedSpec) else (spec,)
    return max(TOLERANCE[part.precision] for part in parts)


def relative_l2(features: np.ndarray, expected: np.ndarray) -> float:
    """Return the L2 norm of the difference over that of `expected`."""
    norm = np.linalg.norm(expected.astype(np.float64))
    difference = np.linalg.norm(features.astype(np.float64) - expected)
    return float(difference / norm if norm else difference)


def with_precision(model: Model, precision: str) -> Model:
    """Return a copy of a model that computes in `precision`, or the model if it does; its weights stay float32.

    The dtype policy of every layer, also in nested models and wrappers, is replaced in the model's
    configuration, from which the copy is built. The global dtype policy has no effect.
    """
    keras = import_keras()
    config = keras.saving.serialize_keras_object(model)
    new_config = _replace_policies(config, POLICIES[precision])
    if new_config == config:
        return model
    copy = keras.saving.deserialize_keras_object(new_config, safe_mode=True)
    set_weights(copy, zip(copy.weights, model.weights, strict=True))
    return copy


def _replace_policies(config: Any, policy: str) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and "float" in config["config"]["name"]:
            return {**config, "config": {"name": policy}}
        return {key: _replace_policies(value, policy) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_replace_policies(value, policy) for value in config)
    return config


def disable_tensor_float_32() -> None:
    """Make TensorFlow compute float32 as float32 on every GPU, for the rest of the process.

    Ampere and later GPUs otherwise multiply float32 arrays in TensorFloat-32, with 10 bits of precision instead of 23.
    """
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)


def settle_precision(model: Model, height_width: tuple[int, int]) -> str:
    """Choose the precision of a model for `precision="auto"` by measuring its speed on this machine.

    The shorter format is chosen if it is at least 1.2 times as fast as float32. Both speeds are logged.
    """
    if (shorter := shorter_format()) is None:
        return "float32"
    images = np.random.Generator(np.random.PCG64(0)).uniform(0, 255, (8, *height_width, 3)).astype(np.float32)
    seconds = best_seconds(with_precision(model, "float32"), images)
    shorter_seconds = best_seconds(with_precision(model, shorter), images, max_seconds=seconds)
    precision = shorter if seconds >= MIN_SPEEDUP * shorter_seconds else "float32"
    rates = len(images) / seconds, len(images) / shorter_seconds
    logger.info("precision %s: %.1f images/s in float32, %.1f in %s", precision, *rates, shorter)
    return precision


def shorter_format() -> str | None:
    """Return the number format that may be faster than float32 on this machine, if there is one."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "bfloat16"
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
    return "float16" if capability >= TENSOR_CORES else None


def best_seconds(model: Model, images: np.ndarray, max_seconds: float = math.inf) -> float:
    """Return the seconds of the fastest of three forward passes; stop after a pass above `max_seconds`."""
    import tensorflow as tf

    forward = tf.function(lambda batch: model(batch, training=False), autograph=False)
    batch = tf.constant(images)
    forward(batch)  # traces the model and lets oneDNN arrange the weights
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        forward(batch).numpy()
        best = min(best, time.perf_counter() - start)
        if best > max_seconds:
            break
    return best
