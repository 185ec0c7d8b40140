"""Stage one in 8-bit integers: against its limit, against floats, and with a fast conv base."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from pipeline import ConvBaseSpec, ImageTable, scan_images
from pipeline.cli.console import start_tensorflow_quietly
from pipeline.conv_base.int8 import Int8ConvBase, Interpreter
from pipeline.conv_base.load import ConvBase, load_conv_base
from pipeline.extraction.callbacks import SILENT
from pipeline.extraction.conv_base_loading import AnyConvBase
from pipeline.extraction.quantize_conv_base import calibration_tasks, quantize_conv_base
from pipeline.images.decode import DECODER

from .machine import has_integer_dot_products, has_matrix_units
from .measuring import alternate, say, seconds_of
from .results import Figure, figure, ratios
from .sizes import Sizes
from .stage_one import decode_rate, run_stage_one

BATCH = 8  # of the interpreter that uses all cores
FLOAT32_GOAL = 3.3  # times the rate of float32, on a processor with VNNI and without matrix units
MOBILENET_GOAL = 450.0  # images/s on two cores


def measure_int8(sizes: Sizes, images: ImageTable, cache: Path, floats: list[ConvBase]) -> list[Figure]:
    """Measure VGG16 in int8, in turn with stage one in each precision of `floats`."""
    say("  VGG16 in int8")
    int8, _ = quantize_conv_base(floats[0], calibration_tasks(images), None, SILENT)
    rate = min(int8.images_per_second(_random_image(int8)), len(images) / max(sizes.seconds, 1))
    subset = images.take(np.arange(min(len(images), max(2 * BATCH, round(rate * sizes.seconds)))))
    bases: tuple[AnyConvBase, ...] = (int8, *floats)
    jobs: dict[str, Callable[[], float]] = {
        "conv base": partial(int8.images_per_second, _random_image(int8)),
        "all cores": partial(_batch_rate, int8),
        "decoding": partial(decode_rate, images, int8.spec),
        **{base.spec.precision: partial(run_stage_one, subset, base, cache) for base in bases},
    }
    measured = alternate("int8", sizes.rounds, jobs)
    rates = {base.spec.precision: [len(subset) / s for s in measured[base.spec.precision]] for base in bases}
    limits = _limits(measured["conv base"], measured["decoding"])
    note = f"{len(subset)} images into a new store, from the plan to the last shard"
    figures = [
        figure(
            "limit.conv_base.int8",
            "conv base alone, int8",
            measured["conv base"],
            "images/s",
            note="an interpreter per core, one image each",
        ),
        figure(
            "limit.all_cores.int8",
            "conv base alone, int8, one interpreter",
            measured["all cores"],
            "images/s",
            note=f"all cores, batch {BATCH}",
        ),
        figure(
            "limit.limit.int8",
            "limit, int8",
            limits,
            "images/s",
            note=f"decoding on {os.cpu_count()} cores, then conv base",
        ),
        figure("limit.stage_one.int8", "stage one, int8", rates["int8"], "images/s", note=note),
        figure(
            "limit.share.int8", "stage one divided by limit, int8", ratios(rates["int8"], limits), "", at_least=0.93
        ),
    ]
    for base in floats:
        precision = base.spec.precision
        what = f"stage one in int8 divided by stage one in {precision}"
        figures.append(
            figure(
                f"limit.times_{precision}.int8",
                what,
                ratios(rates["int8"], rates[precision]),
                "x",
                at_least=_goal(precision),
            )
        )
    return figures


def _goal(precision: str) -> float | None:
    """Return how many times as fast as a float precision int8 has to be on this processor; None if there is no goal."""
    if precision == "float32":
        return FLOAT32_GOAL if has_integer_dot_products() and not has_matrix_units() else None
    return 1.0 if has_matrix_units() else None


def measure_mobilenet(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure stage one with MobileNetV2 in int8, where decoding and writing take most of the time."""
    start_tensorflow_quietly()
    images = scan_images(photos)
    spec = ConvBaseSpec(
        "mobilenet_v2",
        conv_base_args={"alpha": 0.35},
        weights="random",
        size=sizes.mobilenet_side,
        precision="float32",
        decoder=DECODER,
    )
    int8, _ = quantize_conv_base(load_conv_base(spec), calibration_tasks(images), None, SILENT)
    jobs: dict[str, Callable[[], float]] = {
        "conv base": partial(int8.images_per_second, _random_image(int8)),
        "decoding": partial(decode_rate, images, spec, os.cpu_count() or 1),
        "stage one": lambda: len(images) / run_stage_one(images, int8, work / "store"),
    }
    measured = alternate("MobileNetV2 in int8", sizes.rounds, jobs)
    limits = [
        1 / (1 / rate + 1 / decoded) for rate, decoded in zip(measured["conv base"], measured["decoding"], strict=True)
    ]
    goal = MOBILENET_GOAL if os.cpu_count() == 2 else None
    return [
        figure("mobilenet.conv_base", "MobileNetV2 in int8: conv base alone", measured["conv base"], "images/s"),
        figure(
            "mobilenet.decoding", "MobileNetV2 in int8: decoding alone, all cores", measured["decoding"], "images/s"
        ),
        figure(
            "mobilenet.limit",
            "MobileNetV2 in int8: limit",
            limits,
            "images/s",
            note="decoding on all cores, then conv base on all cores",
        ),
        figure(
            "mobilenet.stage_one",
            "MobileNetV2 in int8: stage one",
            measured["stage one"],
            "images/s",
            at_least=goal,
            note=f"{len(images)} images into a new store, from the plan to the last shard",
        ),
        figure(
            "mobilenet.share",
            "MobileNetV2 in int8: stage one divided by limit",
            ratios(measured["stage one"], limits),
            "",
        ),
    ]


def _random_image(int8: Int8ConvBase) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (*int8.spec.height_width, 3)).astype(np.float32)


def _batch_rate(int8: Int8ConvBase) -> float:
    """Return the images/s of one interpreter that uses all cores."""
    interpreter = Interpreter(int8.model, threads=os.cpu_count() or 1, batch=BATCH)
    images = np.stack([_random_image(int8)] * BATCH)
    interpreter.run(images)
    return BATCH / min(seconds_of(interpreter.run, images) for _ in range(5))


def _limits(conv_base: list[float], decoding: list[float]) -> list[float]:
    """Return the images/s where all cores decode, and then all cores run the conv base."""
    cores = os.cpu_count() or 1
    return [1 / (1 / rate + 1 / decoded / cores) for rate, decoded in zip(conv_base, decoding, strict=True)]
