"""Quantise the conv base of a new store, calibrated on train images, and measure what this costs and gains."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np

from pipeline.conv_base.int8 import Int8ConvBase, make_int8
from pipeline.conv_base.keras_setup import run_isolated
from pipeline.conv_base.load import ConvBase, FloatConvBase
from pipeline.conv_base.precision import relative_l2, with_precision
from pipeline.conv_base.quantize import quantize
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.defaults import EXTRACT_BATCH
from pipeline.errors import SpecError
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.conv_base_loading import AnyConvBase
from pipeline.extraction.decode_ahead import Task, decode_ahead
from pipeline.files.durable import sha256_of
from pipeline.images.equal_contents import first_equal
from pipeline.images.table import SPLITS, ImageTable
from pipeline.store import NO_ROW

CALIBRATED = 100  # images; the guide of TensorFlow Lite recommends 100 to 500
COMPARED = 8  # of them, whose features are computed in float32 too
MIN_SPEEDUP = 1.5  # over the floats, for int8 to be recommended
MIN_IMAGES, MIN_SECONDS = 1000, 120  # of stage one, for the speed of int8 to be measured


def quantize_conv_base(
    conv_base: ConvBase, calibration: Iterable[Task], workers: int | None, callbacks: Callbacks
) -> tuple[Int8ConvBase, dict[str, Any]]:
    """Return a float32 conv base in int8, and what was measured; see `Manifest.precision_error`.

    It is calibrated on the first images of `calibration` that can be decoded, see `calibration_tasks`.
    """
    decoded = decode_ahead(calibration, conv_base.spec.decode_image, workers=workers, ahead=CALIBRATED)
    with contextlib.closing(decoded):
        pixels = list(islice((image.pixels for image in decoded if image.pixels is not None), CALIBRATED))
    if not pixels:
        raise SpecError("int8 is calibrated on train images, and none of them can be decoded")
    callbacks.quantizing(len(pixels))
    int8 = _to_int8(conv_base, np.stack(pixels))
    exact, compared = (model.compute(np.stack(pixels[:COMPARED])) for model in (conv_base, int8))
    pooled = [features.reshape(len(features), -1, features.shape[-1]).mean(axis=1) for features in (exact, compared)]
    measured = {
        "relative_l2": relative_l2(compared, exact),
        "images": len(exact),
        "cosine": float(np.vdot(*pooled) / max(np.prod([np.linalg.norm(p) for p in pooled]), np.finfo(float).tiny)),
        "calibrated": len(pixels),
        "images_per_second": int8.images_per_second(pixels[0]),
        "float32_images_per_second": float_images_per_second(conv_base),
    }
    return int8, measured


def calibration_tasks(images: ImageTable) -> Iterator[Task]:
    """List the distinct train images, or all if there are none, by their sha256.

    The order makes the same images give the same conv base.
    """
    is_train = (images.split_codes == SPLITS.index("train")) & images.readable
    members = np.flatnonzero(is_train if is_train.any() else images.readable)
    distinct = members[first_equal(images.contents[members]) == np.arange(len(members))]
    words = images.contents[distinct].view(">u8")  # (n, 4)
    for i in distinct[np.lexsort(words.T[::-1])].tolist():
        path = str(images.root / images.ids[i])
        yield Task(NO_ROW, images.contents[i].tobytes(), path, path)


def _to_int8(conv_base: ConvBase, pixels: np.ndarray) -> Int8ConvBase:
    model = quantize(conv_base.model, pixels)
    spec = replace(conv_base.spec, precision="int8", int8_sha256=sha256_of(model))
    return make_int8(spec, conv_base.feature_shape, conv_base.sources, model)


def float_images_per_second(conv_base: FloatConvBase) -> float:
    """Measure the speed of a conv base that computes in floats."""
    pixels = random_images(conv_base, EXTRACT_BATCH)
    conv_base.compute(pixels)  # traces the model
    seconds = []
    for _ in range(2):
        start = perf_counter()
        conv_base.compute(pixels)
        seconds.append(perf_counter() - start)
    return len(pixels) / min(seconds)


def random_images(conv_base: AnyConvBase, count: int) -> np.ndarray:
    """Return random images, (count, height, width, 3) float32, to measure the speed of a conv base with."""
    return np.random.default_rng(0).uniform(0, 255, (count, *conv_base.spec.height_width, 3)).astype(np.float32)


def estimate_int8(conv_base: ConvBase, tasks: Sequence[Task], rows: int) -> tuple[float, float] | None:
    """Return the seconds that `rows` images take in int8 and as it is; None if they are few or int8 is not much faster.

    The speed in int8 does not depend on the values of the calibration, which therefore takes random images here.
    """
    if rows < MIN_IMAGES:
        return None
    decode_seconds = seconds_to_decode(conv_base.spec, tasks)
    seconds = rows * (decode_seconds + 1 / float_images_per_second(conv_base))
    if seconds < MIN_SECONDS:
        return None
    pixels = random_images(conv_base, 2)
    try:
        int8 = _to_int8(replace(conv_base, model=run_isolated(with_precision, conv_base.model, "float32")), pixels)
    except SpecError:
        return None
    int8_seconds = rows * (decode_seconds + 1 / int8.images_per_second(pixels[0]))
    return (int8_seconds, seconds) if seconds >= MIN_SPEEDUP * int8_seconds else None


def seconds_to_decode(spec: ConvBaseSpec, tasks: Sequence[Task]) -> float:
    """Measure the seconds to decode an image on all cores, with the first of `tasks`."""
    start = perf_counter()
    decoded = list(decode_ahead(tasks[:COMPARED], spec.decode_image, workers=None, ahead=COMPARED))
    return (perf_counter() - start) / max(len(decoded), 1)
