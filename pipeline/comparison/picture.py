"""The picture of a comparison: accuracy against the time of an image, with intervals."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.comparison.row import ComparedRow
from pipeline.evaluation.plots import PLAIN_TEXT, TRAIN_COLOUR, VALIDATION_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

OTHER_COLOUR = "#808080"
# Above to the left and below to the right first, where no front of rising points runs.
ANGLES = np.array([3, 7, 1, 5, 2, 6, 0, 4]) * np.pi / 4
# Where the number of a marker may stand, in points from the marker, the best places first.
OFFSETS = [r * np.array([np.cos(angle), np.sin(angle)]) for r in (14, 20, 28) for angle in ANGLES]
BOX = (5, 6)  # points from the middle of a number to its right and upper edge


def draw_picture(rows: Sequence[ComparedRow]) -> bytes:
    """Return the picture as a PNG file with the names of the rows; empty if it cannot be drawn."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    png = io.BytesIO()
    shown = list_points(rows)
    try:
        with mpl.rc_context(PLAIN_TEXT), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            figure = Figure(figsize=(7.6, 4.2 + 0.22 * len(shown)), layout="constrained")
            labels = [
                f"{point.number}  {point.row.label}{'  (take this)' * point.row.is_recommended}" for point in shown
            ]
            handles = [Line2D([], [], linestyle="none") for _ in labels]
            figure.legend(handles, labels, loc="outside lower left", frameon=False, handlelength=0, handletextpad=0)
            draw_comparison(figure.subplots(), rows)
            figure.savefig(png, format="png", dpi=120)
    except Exception as error:  # matplotlib raises errors of many types
        logger.warning("the picture of the comparison cannot be drawn and is left out: %s", error)
        return b""
    return png.getvalue()


class Point(NamedTuple):
    """A row of the picture: its number in the table, the time of an image, its accuracy and the interval."""

    number: int
    row: ComparedRow
    ms: float
    accuracy: float
    low: float
    high: float


def list_points(rows: Sequence[ComparedRow]) -> list[Point]:
    """Return the rows that the picture shows, with the numbers that they have in the table."""
    return [
        Point(i, row, row.ms, row.accuracy, *(row.accuracy_interval or (row.accuracy, row.accuracy)))
        for i, row in enumerate(rows, 1)
        if row.accuracy is not None and row.ms
    ]


def draw_comparison(axes: Axes, rows: Sequence[ComparedRow]) -> None:
    """Draw each row as a numbered point, rows of the Pareto front filled and joined, the recommended one ringed."""
    from matplotlib.ticker import LogLocator, NullFormatter

    points = list_points(rows)
    for point in points:
        is_random = point.row.random_weights
        colour = OTHER_COLOUR if is_random else TRAIN_COLOUR
        axes.plot([point.ms, point.ms], [point.low, point.high], color=colour, linewidth=1.2, alpha=0.6)
        face = colour if point.row.is_pareto else "none"
        marker = "x" if is_random else "o"
        axes.plot(point.ms, point.accuracy, marker, color=colour, markerfacecolor=face, markersize=6)
        if point.row.is_recommended:
            ring: Any = {"color": VALIDATION_COLOUR, "markerfacecolor": "none", "markersize": 12}
            axes.plot(point.ms, point.accuracy, "o", **ring)
    front = sorted((point.ms, point.accuracy) for point in points if point.row.is_pareto)
    axes.plot(*np.array(front).reshape(-1, 2).T, "--", color=TRAIN_COLOUR, linewidth=1, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.1)
    axes.set(xlabel="ms an image on this machine", ylabel="validation accuracy")
    axes.grid(alpha=0.15)
    _number_points(axes, points)


def _number_points(axes: Axes, points: Sequence[Point]) -> None:
    """Write the number of each row beside its point, where it covers no other number, point or interval."""
    figure = axes.get_figure(root=True)
    if not points or figure is None:
        return
    figure.draw_without_rendering()  # lays the axes out
    ends = [(point.ms, value) for point in points for value in (point.accuracy, point.low, point.high)]
    # (points, 3, 2), in points: marker, lower and upper end of the interval
    places = axes.transData.transform(ends).reshape(-1, 3, 2) * 72 / figure.dpi
    middles, spans, placed = places[:, 0], places[:, 1:, 1], list[np.ndarray]()
    front = middles[[point.row.is_pareto for point in points]]
    front = front[np.argsort(front[:, 0])]
    line = np.concatenate([np.linspace(a, b, 100) for a, b in pairwise(front)]) if len(front) > 1 else front
    for point, middle in zip(points, middles, strict=True):
        best = min(OFFSETS, key=lambda offset: _covered(middle + offset, middles, spans, line, placed))
        placed.append(middle + best)
        options: Any = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 9}
        axes.annotate(str(point.number), (point.ms, point.accuracy), (float(best[0]), float(best[1])), **options)


def _covered(
    middle: np.ndarray, points: np.ndarray, spans: np.ndarray, line: np.ndarray, placed: Sequence[np.ndarray]
) -> int:
    """Count the points, intervals, lines and numbers that a number with its middle here would cover."""
    width, height = BOX
    near = np.abs(points - middle)
    count = int(((near[:, 0] < width + 4) & (near[:, 1] < height + 4)).sum())
    is_beside = (spans[:, 0] > middle[1] + height) | (spans[:, 1] < middle[1] - height)
    count += int(((near[:, 0] < width) & ~is_beside).sum())
    count += int((np.abs(line - middle) < BOX).all(axis=1).any())
    return count + 3 * sum(bool((np.abs(other - middle) < (2 * width, 2 * height)).all()) for other in placed)
