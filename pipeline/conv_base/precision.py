"""What a conv base computes in: the same model described anew, and which kind is faster here."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.conv_base.keras_setup import import_keras
from pipeline.conv_base.weights import set_weights

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
WORTHWHILE = 1.2  # times as fast as float32
TENSOR_CORES = (7, 0)  # CUDA compute capability


def with_precision(model: keras.Model, precision: str) -> keras.Model:
    """The same model with the same weights, computing in `precision`; weights stay float32.

    The model's description is rewritten layer by layer, down into nested models and wrappers, and
    a new model is made of it. The global dtype policy plays no part. A model that computes so
    already is handed back itself.

    Parameters
    ----------
    precision : {"float32", "bfloat16", "float16"}
    """
    keras = import_keras()
    description = keras.saving.serialize_keras_object(model)
    wanted = _with_policy(description, POLICIES[precision])
    if wanted == description:
        return model
    copy = keras.saving.deserialize_keras_object(wanted, safe_mode=True)
    set_weights(copy, zip(copy.weights, model.weights, strict=True))
    return copy


def _with_policy(description: Any, policy: str) -> Any:
    if isinstance(description, dict):
        if description.get("class_name") == "DTypePolicy" and "float" in description["config"]["name"]:
            return {**description, "config": {"name": policy}}
        return {key: _with_policy(value, policy) for key, value in description.items()}
    if isinstance(description, (list, tuple)):
        return type(description)(_with_policy(value, policy) for value in description)
    return description


def disable_tensor_float_32() -> None:
    """Make TensorFlow compute float32 as float32 on every GPU, for the rest of the process.

    On Ampere and later GPUs, TensorFlow computes matrix products and convolutions of float32 arrays in
    TensorFloat-32, with 10 bits of precision instead of 23. The switch is one for the process, so other
    models in it compute in float32, too, and more slowly.
    """
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)


def settle_precision(model: keras.Model, height_width: tuple[int, int]) -> str:
    """Measure whether a shorter float pays on this machine.

    bfloat16 is tried on a processor, float16 on a GPU with tensor cores, and taken where it is at
    least 1.2 times as fast as float32. Both rates are logged.

    Parameters
    ----------
    model : keras.Model
        Takes images of shape (batch, height, width, 3), float32.

    Returns
    -------
    str
        `float32`, `bfloat16` or `float16`.
    """
    shorter = _shorter_float()
    if shorter is None:
        return "float32"
    images = np.random.Generator(np.random.PCG64(0)).uniform(0, 255, (8, *height_width, 3)).astype(np.float32)
    plain = best_seconds(with_precision(model, "float32"), images)
    short = best_seconds(with_precision(model, shorter), images, hopeless=plain)
    settled = shorter if plain >= WORTHWHILE * short else "float32"
    rates = len(images) / plain, len(images) / short
    logger.info("precision %s: %.1f images/s in float32, %.1f in %s", settled, *rates, shorter)
    return settled


def _shorter_float() -> str | None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "bfloat16"
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
    return "float16" if capability >= TENSOR_CORES else None


def best_seconds(model: keras.Model, images: np.ndarray, hopeless: float = math.inf) -> float:
    """The shortest of three forward passes over `images` in seconds; fewer when one is over `hopeless`."""
    import tensorflow as tf

    forward = tf.function(lambda batch: model(batch, training=False), autograph=False)
    batch = tf.constant(images)
    forward(batch)  # traces, and lets oneDNN lay out the weights
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        forward(batch).numpy()
        best = min(best, time.perf_counter() - start)
        if best > hopeless:
            break
    return best
