"""Matplotlib figures as inline SVG elements that take their colours from the page's style sheet."""

import io
import logging
import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from pipeline.evaluation.plots import PLAIN_TEXT, TRAIN_COLOUR, VALIDATION_COLOUR
from pipeline.text import printable

logger = logging.getLogger(__name__)

N_COLOURS = 8  # --c0 to --c7 in style.css
TEXT_COLOUR = "#000001"
SERIES_COLOURS = tuple(f"#0000{16 + i:02x}" for i in range(N_COLOURS))
# Matplotlib draws with colours that stand for variables of the style sheet, so that the page can be light or dark.
CSS_COLOURS = {
    TEXT_COLOUR: "currentColor",
    TRAIN_COLOUR: "var(--c0)",
    VALIDATION_COLOUR: "var(--c1)",
    **{colour: f"var(--c{i})" for i, colour in enumerate(SERIES_COLOURS)},
}
STYLE: dict[Any, Any] = {
    **PLAIN_TEXT,
    "axes.edgecolor": TEXT_COLOUR,
    "axes.facecolor": "none",
    "axes.labelcolor": TEXT_COLOUR,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "figure.facecolor": "none",
    "font.size": 9.5,
    "grid.color": TEXT_COLOUR,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "svg.fonttype": "none",
    "text.color": TEXT_COLOUR,
    "xtick.color": TEXT_COLOUR,
    "ytick.color": TEXT_COLOUR,
}


def draw_svg(
    draw: Callable[..., None],
    label: str,
    *,
    size: tuple[float, float] = (4.3, 3.5),
    height_ratios: tuple[float, ...] = (1,),
) -> Markup:
    """Draw a figure as an SVG element, or a paragraph if it cannot be drawn: a figure must not stop the report.

    `draw` is called with one `Axes` for each of `height_ratios`; they stand below each other. `label` is the text
    for screen readers; the ids in the element are derived from it, so it must differ between the figures of a page.
    `size` is width and height in inches; their ratio is that of the element.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    label, file = printable(label), io.StringIO()
    try:
        with mpl.rc_context({**STYLE, "svg.hashsalt": label}):
            figure = Figure(figsize=size, layout="constrained")
            draw(*figure.subplots(len(height_ratios), sharex=True, squeeze=False, height_ratios=height_ratios)[:, 0])
            figure.savefig(file, format="svg", metadata={"Date": None})
    except Exception as error:  # matplotlib raises errors of many types
        logger.warning("a figure of the report cannot be drawn (%s): %s", label, error)
        return Markup('<p class="soft">The figure “{}” could not be drawn.</p>').format(label)
    return _adapt_to_page(file.getvalue(), label)


def _adapt_to_page(document: str, label: str) -> Markup:
    """Keep the `svg` element alone, without a size and without the styles and group ids that would clash."""
    start = re.search(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', document)
    assert start
    body = re.sub(
        r'<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|(?<=<g) id="[^"]*"',
        "",
        document[start.end() :],
        flags=re.S,
    )
    body = re.sub(r"#[0-9a-f]{6}\b", lambda colour: CSS_COLOURS.get(colour[0], colour[0]), body.replace("xlink:", ""))
    return Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(start[1], label) + Markup(body)
