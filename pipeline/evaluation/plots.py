"""PNG files that are saved beside a head: its confusion matrix and its training curves."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.evaluation.evaluate import Evaluation
from pipeline.files.durable import write_durably

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

TRAIN_COLOUR, VALIDATION_COLOUR = "#4c72b0", "#dd8452"
MAX_CLASSES_WITH_COUNTS = 20  # the cells of a larger confusion matrix are too small for numbers
MAX_NAME = 24  # characters of a class name
# Class names are any text, so no text is parsed as a formula.
PLAIN_TEXT: dict[Any, Any] = {"text.parse_math": False, "text.usetex": False}


def save_plots(
    evaluation: Evaluation, history: Mapping[str, Sequence[float]] | None, directory: Path, *, title: str
) -> None:
    """Save `confusion_matrix.png` and, for a head that trains in epochs, `training_curve.png`.

    A plot that cannot be drawn is logged as a warning and left out: a missing plot must not stop the
    training of the other heads. `history` holds `loss`, `accuracy`, `val_loss` and `val_accuracy` of each epoch.
    """
    import matplotlib as mpl

    plots: dict[str, Callable[[], Figure]] = {"confusion_matrix.png": lambda: confusion_figure(evaluation, title)}
    if history:
        plots["training_curve.png"] = lambda: curve_figure(history, title)
    for name, draw in plots.items():
        png = io.BytesIO()
        try:
            with mpl.rc_context(PLAIN_TEXT), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
                draw().savefig(png, format="png", dpi=120)
        except Exception as error:  # matplotlib raises errors of many types
            logger.warning("%s cannot be drawn and is left out: %s", directory / name, error)
            continue
        write_durably(directory / name, png.getvalue())


def confusion_figure(evaluation: Evaluation, title: str) -> Figure:
    """Draw a confusion matrix: a row per true class, shaded by the share of that class."""
    from matplotlib.figure import Figure

    k = len(evaluation.classes)
    side = min(14.0, 3.2 + 0.45 * k)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    totals = evaluation.confusion.sum(axis=1, keepdims=True)
    shares = np.divide(evaluation.confusion, totals, out=np.zeros((k, k)), where=totals > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    names = [_shorten(name) for name in evaluation.classes]
    rotated = max(map(len, names)) > (8 if k <= 4 else 3)
    axes.set_xticks(range(k), names, rotation=60 if rotated else 0, ha="right" if rotated else "center")
    axes.set_yticks(range(k), names)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"{title}\nvalidation accuracy {evaluation.accuracy:.4f} on {evaluation.n} images", fontsize=10)
    if k <= MAX_CLASSES_WITH_COUNTS:
        for row, column in np.ndindex(k, k):
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(evaluation.confusion[row, column]), ha="center", va="center", color=colour)
    return figure


def curve_figure(history: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Draw loss and accuracy against epochs, for train and validation images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    for axes, score in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        draw_curve(axes, history, score)
    figure.suptitle(title, fontsize=10)
    return figure


def draw_curve(axes: Axes, history: Mapping[str, Sequence[float]], score: str) -> None:
    """Draw one score of a training history against epochs, on train and (if recorded) validation images."""
    from matplotlib.ticker import MaxNLocator

    epochs = range(1, len(history[score]) + 1)
    axes.plot(epochs, history[score], "o-", markersize=3, color=TRAIN_COLOUR, label="train")
    if f"val_{score}" in history:
        axes.plot(epochs, history[f"val_{score}"], "o-", markersize=3, color=VALIDATION_COLOUR, label="validation")
    axes.set(xlabel="epoch", ylabel=score)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()


def _shorten(name: str) -> str:
    name = name.encode(errors="replace").decode()
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
