"""Stage one against the limit of the hardware: the conv base alone, decoding alone, a plain matrix product."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import ConvBaseSpec, ImageTable, scan_images
from pipeline.cli.console import start_tensorflow_quietly
from pipeline.conv_base.keras_setup import all_layers
from pipeline.conv_base.load import ConvBase, load_conv_base
from pipeline.defaults import EXTRACT_BATCH
from pipeline.images.decode import DECODER

from . import int8
from .measuring import alternate, say, seconds_of
from .results import Figure, figure, ratios
from .sizes import Sizes
from .stage_one import decode_rate, run_stage_one

PRODUCTS = 4


def list_precisions(side: int) -> tuple[str, ...]:
    """Return float32 and the precision that `auto` resolves to on this machine, if it is another one."""
    start_tensorflow_quietly()
    resolved = load_conv_base(vgg16_spec(side, "auto")).spec.precision
    return tuple(dict.fromkeys(("float32", resolved)))


def vgg16_spec(side: int, precision: str) -> ConvBaseSpec:
    """Return the spec of VGG16 with random weights."""
    return ConvBaseSpec("vgg16", weights="random", size=side, precision=precision, decoder=DECODER)


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure the rates in each precision."""
    start_tensorflow_quietly()
    images = scan_images(photos)
    figures, floats = [], []
    for precision in sizes.precisions:
        say(f"  VGG16 in {precision}")
        floats.append(load_conv_base(vgg16_spec(sizes.side, precision)))
        figures += _measure_precision(sizes, floats[-1], images, work / "limit")
    return figures + int8.measure_int8(sizes, images, work / "limit", floats)


def _measure_precision(sizes: Sizes, conv_base: ConvBase, images: ImageTable, cache: Path) -> list[Figure]:
    forward, product = _forward(conv_base), _matrix_product(sizes.matrix, conv_base.spec.precision)
    forward()  # traces the graph and warms up oneDNN
    conv_base.compute(np.zeros((EXTRACT_BATCH, *conv_base.spec.height_width, 3), np.float32))
    batches = round(sizes.seconds / seconds_of(forward))
    batches = min(max(2, batches), max(1, len(images) // EXTRACT_BATCH))
    subset = images.take(np.arange(min(batches * EXTRACT_BATCH, len(images))))
    measured = alternate(
        conv_base.spec.precision,
        sizes.rounds,
        {
            "TFLOP/s": product,
            "conv base": lambda: batches * EXTRACT_BATCH / sum(seconds_of(forward) for _ in range(batches)),
            "decoding": lambda: decode_rate(images, conv_base.spec),
            "stage one": lambda: len(subset) / run_stage_one(subset, conv_base, cache),
        },
    )
    return _figures(conv_base, measured, len(subset))


def _figures(conv_base: ConvBase, measured: dict[str, list[float]], n: int) -> list[Figure]:
    precision, cores = conv_base.spec.precision, os.cpu_count() or 1
    product, conv_base_rate, decoding, stage_one = measured.values()
    limits = [1 / (1 / rate + 1 / decoded / cores) for rate, decoded in zip(conv_base_rate, decoding, strict=True)]
    conv_base_tflops = [rate * flop_per_image(conv_base.model) / 1e12 for rate in conv_base_rate]

    def make_figure(name: str, what: str, samples: list[float], unit: str, **more: Any) -> Figure:
        return figure(f"limit.{name}.{precision}", what, samples, unit, **more)

    batch = f"batch {EXTRACT_BATCH}"
    job = f"{n} images into a new store, from the plan to the last shard"
    return [
        make_figure("product", f"plain matrix product, {precision}", product, "TFLOP/s"),
        make_figure("conv_base", f"conv base alone, {precision}", conv_base_rate, "images/s", note=batch),
        make_figure(
            "product_share",
            f"conv base alone divided by matrix product, {precision}",
            ratios(conv_base_tflops, product),
            "",
        ),
        make_figure(
            "decoding", "decoding alone, one core", decoding, "images/s", note="files read from the page cache"
        ),
        make_figure(
            "limit", f"limit, {precision}", limits, "images/s", note=f"conv base, then decoding on {cores} cores"
        ),
        make_figure("stage_one", f"stage one, {precision}", stage_one, "images/s", note=job),
        make_figure("share", f"stage one divided by limit, {precision}", ratios(stage_one, limits), "", at_least=0.93),
    ]


def _matrix_product(side: int, precision: str) -> Callable[[], float]:
    """Return a function that measures how fast TensorFlow multiplies two square matrices, in TFLOP/s."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_uniform((side, side), (0, 0)), precision)
    multiply = tf.function(lambda: tf.linalg.matmul(matrix, matrix)[0, 0], autograph=False)
    multiply()
    return lambda: 2 * side**3 / min(seconds_of(lambda: multiply().numpy()) for _ in range(PRODUCTS)) / 1e12


def _forward(conv_base: ConvBase) -> Callable[[], Any]:
    """Return a function that runs one forward pass on a batch that is already in memory."""
    import tensorflow as tf

    batch = tf.random.stateless_uniform((EXTRACT_BATCH, *conv_base.spec.height_width, 3), (0, 0), 0, 255)
    forward = tf.function(lambda: conv_base.model(batch, training=False), autograph=False)
    return lambda: forward().numpy()


def flop_per_image(model: Any) -> float:
    """Return the number of multiplications and additions of a model's convolutions per image."""
    kernels = [layer for layer in all_layers(model) if hasattr(layer, "kernel") and len(layer.kernel.shape) == 4]
    return float(sum(2 * math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3]) for layer in kernels))
