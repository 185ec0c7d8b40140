"""Draw the main comparison as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.defaults import EPOCHS
from pipeline.files.durable import make_directory, write_durably

from .results import Figure, format_number, format_seconds
from .whole_job import PHOTOS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, OTHERS, LIMIT = "#4c72b0", "#b0b0b0", "white"
AXIS_LENGTH = 1.4  # times the longest bar; leaves space for its label


class Bar(NamedTuple):
    """A bar of a panel; `label` stands behind it."""

    name: str
    length: float
    colour: str
    label: str


def save_plot(path: Path, figures: Sequence[Figure], machine: dict[str, Any]) -> bool:
    """Draw the seconds of the whole job and the rates of stage one as PNG; False if they were not measured."""
    from matplotlib.figure import Figure as Picture

    values = {figure.key: figure.value for figure in figures}
    if "whole.slides" not in values:
        return False
    jobs, rates = _jobs(values), _rates(values)
    picture = Picture(figsize=(9, 1.9 + 0.34 * (len(jobs) + len(rates))), layout="constrained")
    upper, lower = picture.subplots(2, 1, height_ratios=[len(jobs), len(rates)])
    _draw(
        upper,
        jobs,
        f"Features of {PHOTOS:,} photos and {EPOCHS} epochs of the dense head, estimated from measured rates",
    )
    _draw(lower, rates, "Photos per second through the conv base")
    processor = f"{machine['processor']}, {machine['cores']} cores, bf16: {machine['bf16']}"
    picture.supxlabel(f"VGG16 at 150 x 150; {processor}", fontsize=8, color="#606060")
    png = io.BytesIO()
    picture.savefig(png, format="png", dpi=130)
    make_directory(path.parent)
    write_durably(path, png.getbuffer())
    return True


def _jobs(values: dict[str, float]) -> list[Bar]:
    slides = values["whole.slides"]

    def bar(name: str, seconds: float, colour: str) -> Bar:
        return Bar(name, seconds, colour, f"{format_seconds(seconds)}, {format_number(slides / seconds)} times faster")

    ours = [bar(f"pipeline, {name}", seconds, OURS) for name, seconds in _select("whole.pipeline.", values)]
    slides_bar = Bar("end-to-end training", slides, OTHERS, format_seconds(slides))
    return [slides_bar, bar("common way: predict once, then fit", values["whole.common"], OTHERS), *ours]


def _rates(values: dict[str, float]) -> list[Bar]:
    bars = [("model.predict, float32", values["ways.common"], OTHERS)]
    for precision, rate in _select("limit.stage_one.", values):
        bars.append((f"pipeline's stage one, {precision}", rate, OURS))
        bars.append((f"limit: conv base + decoding, {precision}", values[f"limit.limit.{precision}"], LIMIT))
    return [Bar(*bar, format_number(bar[1])) for bar in bars]


def _select(prefix: str, values: dict[str, float]) -> list[tuple[str, float]]:
    return [(key.removeprefix(prefix), value) for key, value in values.items() if key.startswith(prefix)]


def _draw(axes: Axes, bars: list[Bar], title: str) -> None:
    names, lengths, colours, labels = zip(*bars, strict=True)
    edges = [OTHERS if colour == LIMIT else colour for colour in colours]
    axes.bar_label(
        axes.barh(names, lengths, color=colours, edgecolor=edges, height=0.65), labels, padding=4, fontsize=9
    )
    axes.set_title(title, loc="left", fontsize=10)
    axes.invert_yaxis()
    axes.set_xlim(0, max(lengths) * AXIS_LENGTH)
    axes.set_xticks([])
    axes.tick_params(axis="y", labelsize=9, length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
