"""What a person looks at: training curves and confusion matrices."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation import Evaluation
from pipeline.files.durable import write_durably

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN_COLOUR, VALIDATION_COLOUR = "#4c72b0", "#dd8452"
MAX_NUMBERS = 20  # classes up to which each cell of a confusion matrix carries its count


def save_plots(
    evaluation: Evaluation, history: Mapping[str, Sequence[float]] | None, directory: Path, *, title: str
) -> list[Path]:
    """Draw `confusion_matrix.png` and, of a head that trains in epochs, `training_curve.png`.

    Parameters
    ----------
    evaluation : Evaluation
    history : mapping, optional
        `loss`, `accuracy`, `val_loss`, `val_accuracy`: a number an epoch.
    directory : Path
    title : str

    Returns
    -------
    list of Path
        The files, written durably.
    """
    figures = {"confusion_matrix.png": confusion_figure(evaluation, title)}
    if history:
        figures["training_curve.png"] = curve_figure(history, title)
    for name, figure in figures.items():
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=120)
        write_durably(directory / name, png.getbuffer())
    return [directory / name for name in figures]


def confusion_figure(evaluation: Evaluation, title: str) -> Figure:
    """Rows are the true classes, shaded by the share of the class, with counts."""
    from matplotlib.figure import Figure

    k = len(evaluation.classes)
    side = min(14.0, 3.2 + 0.45 * k)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    totals = evaluation.confusion.sum(axis=1, keepdims=True)
    share = np.divide(evaluation.confusion, totals, out=np.zeros((k, k)), where=totals > 0)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    names = [_short(name) for name in evaluation.classes]
    turned = max(map(len, names)) > (8 if k <= 4 else 3)
    axes.set_xticks(range(k), names, rotation=60 if turned else 0, ha="right" if turned else "center")
    axes.set_yticks(range(k), names)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{title}\nvalidation accuracy {evaluation.accuracy:.4f} on {evaluation.n} images", fontsize=10)
    if k <= MAX_NUMBERS:
        for row, column in np.ndindex(k, k):
            colour = "white" if share[row, column] > 0.55 else "black"
            axes.text(column, row, str(evaluation.confusion[row, column]), ha="center", va="center", color=colour)
    return figure


def curve_figure(history: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Loss and accuracy against epochs, for train and validation images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_curve(left, history, "loss")
    draw_curve(right, history, "accuracy")
    figure.suptitle(title, fontsize=10)
    return figure


def draw_curve(axes: Axes, history: Mapping[str, Sequence[float]], name: str) -> None:
    """One score of a `history` against epochs: `loss`, and `val_loss` where it is there."""
    from matplotlib.ticker import MaxNLocator

    epochs = range(1, len(history[name]) + 1)
    axes.plot(epochs, history[name], "o-", markersize=3, color=TRAIN_COLOUR, label="train")
    if f"val_{name}" in history:
        axes.plot(epochs, history[f"val_{name}"], "o-", markersize=3, color=VALIDATION_COLOUR, label="validation")
    axes.set(xlabel="epoch", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()


def _short(name: str) -> str:
    name = name.encode(errors="replace").decode()
    return name if len(name) <= 24 else f"{name[:23]}…"
