"""The job of the slides, 25,000 photos and ten epochs, put together from measured rates and fixed costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.defaults import EPOCHS

from .results import Figure, figure
from .sizes import Sizes

PHOTOS, TO_TRAIN_ON = 25_000, 20_000
RESTS_ON = ("limit", "ways", "heads", "reading")
FASTER = 55.0  # times, with bf16
FASTER_EQUALLY = 8.0  # times, in float32 on both sides


def put_together(sizes: Sizes, figures: Sequence[Figure]) -> list[Figure]:
    """Figures of the whole job; none where a part that they rest on was not measured."""
    if not set(RESTS_ON) <= {one.part for one in figures}:
        return []
    values = {one.key: one.value for one in figures}
    slides = values["ways.slides_fixed"] + EPOCHS * PHOTOS * values["ways.slides_epoch"] / values["ways.photos"]
    common = PHOTOS / values["ways.common"] + EPOCHS * values["heads.keras"] * TO_TRAIN_ON / sizes.rows
    found = [
        figure("whole.slides", "slides' way", slides, "s", note=f"fixed costs + {EPOCHS} x photos / rate"),
        figure("whole.common", "common way", common, "s", note=f"photos / rate + {EPOCHS} epochs of Keras fit"),
    ]
    precisions = [key.rpartition(".")[2] for key in values if key.startswith("ways.whole.")]
    for precision in precisions:
        ours = _pipeline(sizes, values, precision)
        found.append(
            figure(
                f"whole.pipeline.{precision}",
                f"pipeline, {precision}",
                ours,
                "s",
                note="fixed costs + scanning, stage one and reading at their rates + dense head",
            )
        )
        goal = FASTER_EQUALLY if precision == "float32" else FASTER
        what = f"times faster than the slides' way, {precision}"
        found.append(figure(f"whole.times.{precision}", what, slides / ours, "x", at_least=goal))
        what = f"times faster than the common way, {precision}"
        found.append(figure(f"whole.times_common.{precision}", what, common / ours, "x"))
    return found


def _pipeline(sizes: Sizes, values: Mapping[str, float], precision: str) -> float:
    n, rate = values["ways.photos"], values[f"limit.stage_one.{precision}"]
    fixed = max(0.0, values[f"ways.features.{precision}"] - n / rate)
    scanning = PHOTOS * values[f"ways.scan.{precision}"] / n
    reading = PHOTOS / values["reading.first"]
    head = values["heads.whole"] * PHOTOS / (sizes.rows + sizes.validation_rows)
    return fixed + scanning + PHOTOS / rate + reading + head
