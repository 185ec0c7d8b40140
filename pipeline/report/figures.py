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
        for i, scores in enumerate(rankings.values()):
            false_positive_rate, true_positive_rate, _ = roc_curve(is_positive, scores)
            axes.plot(false_positive_rate, true_positive_rate, **_line_style(i))
        axes.plot([0, 1], [0, 1], **CHANCE)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.set_title("ROC" if side == 1 else "ROC, the upper left corner")
        _zoom(axes, (0, side), (1 - side, 1))

    return draw_svg(draw, f"ROC curves of {len(rankings)} heads")


def draw_precision_recall(is_positive: np.ndarray, rankings: Mapping[str, np.ndarray], side: float) -> Markup:
    """Draw the precision-recall curve of each head in a square of `side`, see `visible_side`."""
    from sklearn.metrics import precision_recall_curve

    def draw(axes: Axes) -> None:
        for i, scores in enumerate(rankings.values()):
            precision, recall, _ = precision_recall_curve(is_positive, scores)
            axes.plot(recall, precision, **_line_style(i))
        axes.axhline(float(np.mean(is_positive)), **CHANCE)
        axes.set(xlabel="recall", ylabel="precision")
        axes.set_title("Precision and recall" if side == 1 else "Precision and recall, the upper right corner")
        _zoom(axes, (1 - side, 1), (1 - side, 1))

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


def _line_style(i: int) -> dict[str, Any]:
    return {"color": SERIES_COLOURS[i % N_COLOURS], "linestyle": list(DASHES.values())[i % len(DASHES)]}


def _zoom(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    margin = 0.02 * (x[1] - x[0])
    axes.set(xlim=(x[0] - margin, x[1] + margin), ylim=(y[0] - margin, y[1] + margin))
    axes.grid(alpha=0.15)
