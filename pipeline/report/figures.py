"""The figures of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from pipeline.evaluation.plots import draw_curve
from pipeline.report.calibration import BINS, Calibration
from pipeline.report.svg import N_COLOURS, SERIES_COLOURS, TEXT_COLOUR, draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Series differ in more than colour: line styles by their names in CSS, and markers with their symbols in the legend.
DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (4, 1.5)), "dotted": (0, (1, 1))}
MARKERS = {"o": "●", "^": "▲", "s": "■", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "*": "★"}
CHANCE: dict[str, Any] = {"color": TEXT_COLOUR, "linewidth": 0.7, "linestyle": ":"}


def draw_history(history: Mapping[str, Sequence[float]], score: str, head: str) -> Markup:
    """Draw the loss or the accuracy of a head against epochs."""
    return draw_svg(lambda axes: draw_curve(axes, history, score), f"{score} of {head} against epochs")


def draw_roc(is_positive: np.ndarray, rankings: Mapping[str, np.ndarray], side: float) -> Markup:
    """Draw the ROC curve of each head in a square of `side`, see `visible_side`."""
    from sklearn.metrics import roc_curve

    def draw(axes: Axes) -> None:
        curves = [roc_curve(is_positive, scores)[:2] for scores in rankings.values()]
        _draw_corner(axes, curves, "ROC", "left", side)
        axes.plot([0, 1], [0, 1], **CHANCE)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")

    return draw_svg(draw, f"ROC curves of {len(rankings)} heads")


def draw_precision_recall(is_positive: np.ndarray, rankings: Mapping[str, np.ndarray], side: float) -> Markup:
    """Draw the precision-recall curve of each head in a square of `side`, see `visible_side`."""
    from sklearn.metrics import precision_recall_curve

    def draw(axes: Axes) -> None:
        curves = [precision_recall_curve(is_positive, scores)[1::-1] for scores in rankings.values()]
        _draw_corner(axes, curves, "Precision and recall", "right", side)
        axes.axhline(float(np.mean(is_positive)), **CHANCE)
        axes.set(xlabel="recall", ylabel="precision")

    return draw_svg(draw, f"precision-recall curves of {len(rankings)} heads")


def visible_side(is_positive: np.ndarray, rankings: Mapping[str, np.ndarray]) -> float:
    """Return the side of the corner in which all curves bend: 1, or down to 0.1 for heads that are nearly perfect."""
    from sklearn.metrics import roc_auc_score

    lowest = min(roc_auc_score(is_positive, scores) for scores in rankings.values())
    return float(np.clip(np.ceil(100 * (1 - lowest)) / 10, 0.1, 1))


def draw_reliability(calibration: Calibration, head: str) -> Markup:
    """Draw the reliability diagram of a head above the number of images in each bin."""

    def draw(axes: Axes, counts_axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], **CHANCE)
        axes.plot(calibration.mean_probability, calibration.share, "o-", color=SERIES_COLOURS[0], markersize=4)
        axes.set(ylabel="share of images", title="Reliability diagram", ylim=(-0.03, 1.03))
        axes.grid(alpha=0.15)
        counts = calibration.counts
        counts_axes.bar((np.arange(BINS) + 0.5) / BINS, counts, 0.9 / BINS, color=SERIES_COLOURS[0])
        counts_axes.set(xlabel="probability", ylabel="images", xlim=(-0.03, 1.03), yscale="symlog")
        counts_axes.set_yticks([0, *(10**power for power in range(len(str(max(counts)))))], minor=False)
        counts_axes.yaxis.set_major_formatter("{x:,.0f}")
        counts_axes.minorticks_off()

    return draw_svg(draw, f"reliability diagram of {head} with numbers of images", height_ratios=(3, 1.3))


def draw_feature_map(points: np.ndarray, colours: np.ndarray) -> Markup:
    """Draw points of shape (n, 2), each in one of the `N_COLOURS` colours and with the marker of that colour."""

    def draw(axes: Axes) -> None:
        for i, marker in enumerate(MARKERS):
            x, y = points[colours == i].T
            axes.scatter(x, y, s=11, color=SERIES_COLOURS[i], marker=marker, alpha=0.75, linewidths=0)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.margins(0.02)

    return draw_svg(draw, f"map of {len(points)} images", size=(7.2, 5.0))


def _draw_corner(axes: Axes, curves: Sequence[Any], title: str, corner: str, side: float) -> None:
    """Draw a curve for each head, and show the upper left or right corner of the unit square."""
    for i, curve in enumerate(curves):
        axes.plot(*curve, color=SERIES_COLOURS[i % N_COLOURS], linestyle=list(DASHES.values())[i % len(DASHES)])
    axes.set_title(title if side == 1 else f"{title}, the upper {corner} corner")
    left, margin = 0 if corner == "left" else 1 - side, 0.02 * side
    axes.set(xlim=(left - margin, left + side + margin), ylim=(1 - side - margin, 1 + margin))
    axes.grid(alpha=0.15)
