"""Estimate the job of the slides, 25,000 photos and ten epochs, from measured rates and fixed costs."""

from collections.abc import Mapping, Sequence

from pipeline.defaults import EPOCHS

from .machine import has_integer_dot_products, has_matrix_units
from .results import Figure, figure
from .sizes import Sizes

PHOTOS, TRAIN_PHOTOS = 25_000, 20_000
REQUIRED_PARTS = ("limit", "ways", "heads", "reading")
FLOAT32_GOAL = 8.0  # with float32 on both sides
MATRIX_GOAL = 55.0  # with bfloat16, on a processor with matrix units
INT8_GOAL = 33.0  # on a processor with VNNI and without matrix units


def estimate_whole_job(sizes: Sizes, figures: Sequence[Figure]) -> list[Figure]:
    """Return the figures of the whole job; none if a required part was not measured."""
    if not set(REQUIRED_PARTS) <= {measured.part for measured in figures}:
        return []
    values = {measured.key: measured.value for measured in figures}
    slides = values["ways.slides_fixed"] + EPOCHS * PHOTOS * values["ways.slides_epoch"] / values["ways.photos"]
    common = PHOTOS / values["ways.common"] + EPOCHS * values["heads.keras"] * TRAIN_PHOTOS / sizes.rows
    estimates = [
        figure(
            "whole.slides",
            f"{PHOTOS:,} photos: end-to-end training",
            slides,
            "s",
            note=f"fixed costs + {EPOCHS} x photos / rate",
        ),
        figure(
            "whole.common",
            f"{PHOTOS:,} photos: common way",
            common,
            "s",
            note=f"photos / rate + {EPOCHS} epochs of Keras fit",
        ),
    ]
    precisions = [key.rpartition(".")[2] for key in values if key.startswith("ways.whole.")]
    for precision in precisions:
        seconds = _pipeline_seconds(sizes, values, precision)
        estimates.append(
            figure(
                f"whole.pipeline.{precision}",
                f"{PHOTOS:,} photos: pipeline, {precision}",
                seconds,
                "s",
                note="fixed costs + scanning, stage one and reading at their rates + dense head",
            )
        )
        goal, note = _goal(precision)
        what = f"{PHOTOS:,} photos: times faster than end-to-end training, {precision}"
        estimates.append(figure(f"whole.times.{precision}", what, slides / seconds, "x", at_least=goal, note=note))
        what = f"{PHOTOS:,} photos: times faster than the common way, {precision}"
        estimates.append(figure(f"whole.times_common.{precision}", what, common / seconds, "x"))
    return estimates


def _goal(precision: str) -> tuple[float | None, str]:
    """Return how many times faster a precision has to be on this processor, and a note."""
    if precision == "float32":
        return FLOAT32_GOAL, ""
    if precision == "int8":
        applies, goal, kind = has_integer_dot_products() and not has_matrix_units(), INT8_GOAL, "VNNI, no matrix units"
    else:
        applies, goal, kind = has_matrix_units(), MATRIX_GOAL, "matrix units (AMX)"
    return (goal, f"processor with {kind}") if applies else (None, f"goal {goal:g}: only for processors with {kind}")


def _pipeline_seconds(sizes: Sizes, values: Mapping[str, float], precision: str) -> float:
    n, rate = values["ways.photos"], values[f"limit.stage_one.{precision}"]
    fixed = max(0.0, values[f"ways.features.{precision}"] - n / rate)
    scanning = PHOTOS * values[f"ways.scan.{precision}"] / n
    reading = PHOTOS / values["reading.first"]
    head = values["heads.whole"] * PHOTOS / (sizes.rows + sizes.validation_rows)
    return fixed + scanning + PHOTOS / rate + reading + head
