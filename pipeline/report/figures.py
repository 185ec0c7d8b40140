"""The page's figures: drawn by matplotlib, put into the page as SVG that takes its colours from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from pipeline.evaluation.plots import TRAIN_COLOUR, VALIDATION_COLOUR, draw_curve
from pipeline.report.html import Markup
from pipeline.report.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#000001", "#000002"
SERIES = tuple(f"#0000{16 + at:02x}" for at in range(len(LIGHT)))
# What a colour of a drawing becomes in the page; the stand-ins are colours that nothing else has.
COLOURS = {
    INK: "currentColor",
    FAINT: "var(--line)",
    TRAIN_COLOUR: "var(--c0)",
    VALIDATION_COLOUR: "var(--c1)",
    **{stand_in: f"var(--c{at})" for at, stand_in in enumerate(SERIES)},
}
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "figure.facecolor": "none",
    "font.size": 9.5,
    "grid.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}
SVG = "{http://www.w3.org/2000/svg}"
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)))  # in the page: solid, dashed, dotted
MARKERS = "o^sDvPX*"
BINS = 10  # of the reliability diagram


class Figures:
    """Draws one figure after the other, with ids that are different in each."""

    def __init__(self) -> None:
        self.drawn = 0

    def curves(self, history: Mapping[str, Sequence[float]], name: str) -> Markup:
        """Loss or accuracy against epochs."""
        return self._draw(lambda axes: draw_curve(axes, history, name), f"{name} against epochs")

    def roc(
        self, y: np.ndarray, rankings: Mapping[str, np.ndarray], colour_of: Mapping[str, int], corner: float
    ) -> Markup:
        """True positive rate against false positive rate, one curve a head; `corner` as of `corner_of`."""
        from sklearn.metrics import roc_curve

        def draw(axes: Axes) -> None:
            for name, scores in rankings.items():
                false, true, _ = roc_curve(y == 1, scores)
                axes.plot(false, true, **_line(colour_of[name]))
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=":")
            axes.set(xlabel="false positive rate", ylabel="true positive rate")
            axes.set_title("ROC" if corner == 1 else "ROC, the upper left corner")
            _square(axes, (0, corner), (1 - corner, 1))

        return self._draw(draw, f"ROC curves of {len(rankings)} heads")

    def precision_recall(
        self, y: np.ndarray, rankings: Mapping[str, np.ndarray], colour_of: Mapping[str, int], corner: float
    ) -> Markup:
        """Precision against recall, one curve a head."""
        from sklearn.metrics import precision_recall_curve

        def draw(axes: Axes) -> None:
            for name, scores in rankings.items():
                precision, recall, _ = precision_recall_curve(y == 1, scores)
                axes.plot(recall, precision, **_line(colour_of[name]))
            axes.axhline(float(np.mean(y == 1)), color=INK, linewidth=0.7, linestyle=":")
            axes.set(xlabel="recall", ylabel="precision")
            axes.set_title("Precision and recall" if corner == 1 else "Precision and recall, the upper right corner")
            _square(axes, (1 - corner, 1), (1 - corner, 1))

        return self._draw(draw, f"precision-recall curves of {len(rankings)} heads")

    def reliability(self, happened: np.ndarray, probability: np.ndarray) -> Markup:
        """How often what was said with a probability was so, above how often it was said."""
        from sklearn.calibration import calibration_curve

        def draw(axes: Axes, below: Axes) -> None:
            share, said = calibration_curve(happened, probability, n_bins=BINS)
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=":")
            axes.plot(said, share, "o-", color=SERIES[0], markersize=4)
            axes.set(ylabel="share that was so", title="Reliability", ylim=(-0.03, 1.03))
            axes.grid(alpha=0.15)
            counts = bin_counts(probability)
            below.bar((np.arange(BINS) + 0.5) / BINS, counts, 0.9 / BINS, color=SERIES[0])
            below.set(xlabel="probability given", ylabel="images", xlim=(-0.03, 1.03), yscale="symlog")
            below.set_yticks([0, *(10**power for power in range(len(str(max(counts)))))], minor=False)
            below.yaxis.set_major_formatter("{x:,.0f}")
            below.minorticks_off()

        return self._draw(draw, "reliability diagram with counts", rows=2, height_ratios=(3, 1.3))

    def feature_map(self, places: np.ndarray, codes: np.ndarray) -> Markup:
        """Images as points, coloured by class; codes from `len(SERIES) - 1` on share the last colour."""

        def draw(axes: Axes) -> None:
            for at, (colour, marker) in enumerate(zip(SERIES, MARKERS, strict=True)):
                mine = places[np.minimum(codes, len(SERIES) - 1) == at]
                axes.scatter(mine[:, 0], mine[:, 1], s=11, color=colour, marker=marker, alpha=0.75, linewidths=0)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.margins(0.02)

        return self._draw(draw, f"map of {len(places)} images", size=(7.2, 5.0))

    def _draw(
        self,
        draw: Callable[..., None],
        words: str,
        size: tuple[float, float] = (4.3, 3.5),
        rows: int = 1,
        height_ratios: tuple[float, ...] | None = None,
    ) -> Markup:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        svg = io.BytesIO()
        self.drawn += 1
        with mpl.rc_context({**STYLE, "svg.hashsalt": words}):
            figure = Figure(figsize=size, layout="constrained")
            axes = figure.subplots(rows, sharex=True, squeeze=False, height_ratios=height_ratios)
            draw(*axes[:, 0])
            figure.savefig(svg, format="svg", metadata={"Date": None})
        return _for_page(svg.getvalue(), f"f{self.drawn}-", words)


def bin_counts(probability: np.ndarray) -> np.ndarray:
    """Probabilities in each of the bins of `calibration_curve`, ndarray of shape (BINS,), int64."""
    edges = np.linspace(0, 1, BINS + 1)
    return np.bincount(np.searchsorted(edges[1:-1], probability), minlength=BINS)


def _line(number: int) -> dict[str, Any]:
    return {"color": SERIES[number % len(SERIES)], "linestyle": DASHES[number % len(DASHES)]}


def corner_of(y: np.ndarray, rankings: Mapping[str, np.ndarray]) -> float:
    """The side of the square in which all curves bend, from 0.1 to 1: less for heads that are nearly perfect."""
    from sklearn.metrics import roc_auc_score

    least = min(roc_auc_score(y == 1, scores) for scores in rankings.values())
    return float(np.clip(np.ceil(100 * (1 - least)) / 10, 0.1, 1))


def _square(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    margin = 0.02 * (x[1] - x[0])
    axes.set(xlim=(x[0] - margin, x[1] + margin), ylim=(y[0] - margin, y[1] + margin))
    axes.grid(alpha=0.15)


def _for_page(svg: bytes, prefix: str, words: str) -> Markup:
    """An `svg` element without a size, whose ids are no other figure's and whose colours are the page's."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style") or not child.tag.startswith(SVG):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = {
            key.removeprefix("{http://www.w3.org/1999/xlink}"): value for key, value in element.attrib.items()
        }
        for key, value in element.attrib.items():
            element.attrib[key] = _for_attribute(key, value, prefix)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": words}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _for_attribute(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return prefix + value
    value = re.sub(r"^#|(?<=url\(#)", lambda found: found.group() + prefix, value) if key != "style" else value
    return re.sub(r"#[0-9a-f]{6}", lambda found: COLOURS.get(found.group(), found.group()), value)
