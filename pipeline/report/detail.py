"""One head in detail: curves, confusion, calibration, and the images it fails on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.evaluate import SCORES
from pipeline.report.calibration import expected_calibration_error, mean_brier_score, reliability_pairs
from pipeline.report.figures import Figures
from pipeline.report.html import Markup, join, table, tag
from pipeline.report.scores import Predictions
from pipeline.training.trained_head import TrainedHead

MAX_IN_MATRIX = 20  # classes; of more, the most frequent confusions are listed
MAX_CONFUSIONS = 25
MAX_CLASSES = 200  # in the table of classes
MAX_PHOTOS = 21  # most wrong ones, and least sure ones


class Gallery(NamedTuple):
    """Rows of `Predictions` to look at."""

    wrong: np.ndarray
    unsure: np.ndarray


def gallery_of(y: np.ndarray, probabilities: np.ndarray) -> Gallery:
    """Wrong images, the least probability of their true class first; and all, the nearest two best classes first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != y)
    of_truth = probabilities[wrong, y[wrong]]
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    unsure = np.argsort(first - second, kind="stable")
    return Gallery(wrong[np.argsort(of_truth, kind="stable")][:MAX_PHOTOS], unsure[:MAX_PHOTOS])


def head_detail(figures: Figures, one: TrainedHead, found: Predictions, classes: Sequence[str]) -> Markup:
    """All but the photos of a head."""
    parts = [_curves(figures, one), _reliability(figures, one.name, found)]
    confusion = tag(
        "div", tag("h3", "Which classes are mistaken for which"), _confusion(one.evaluation.confusion, classes)
    )
    per_class = tag("div", tag("h3", "Class by class"), _per_class(one, classes))
    return join(
        tag("div", confusion, per_class, class_="figures"),
        tag("div", *parts, class_="figures") if any(parts) else None,
    )


def _curves(figures: Figures, one: TrainedHead) -> Markup | None:
    drawn = [figures.curves(one.history, name) for name in ("loss", "accuracy") if len(one.history.get(name, ()))]
    if not drawn:
        return None
    return join([tag("figure", drawing) for drawing in drawn])


def _reliability(figures: Figures, name: str, found: Predictions) -> Markup | None:
    if name not in found.probabilities or not len(found.y):
        return None
    p = found.probabilities[name]
    happened, probability = reliability_pairs(found.y, p)
    what = "of the second class" if p.shape[1] == 2 else "of the class that is named"
    return tag(
        "figure",
        figures.reliability(happened, probability),
        tag(
            "figcaption",
            f"The probability {what}: on the dotted line it is honest; below, how often it was given. Brier score "
            f"{mean_brier_score(found.y, p):.4f}, calibration error "
            f"{expected_calibration_error(happened, probability):.4f}.",
        ),
    )


def _confusion(confusion: np.ndarray, classes: Sequence[str]) -> Markup:
    if len(classes) > MAX_IN_MATRIX:
        return _confusions(confusion, classes)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    rows = [
        [name, *(_shaded(n, part, at == row) for at, (n, part) in enumerate(zip(counts, parts, strict=True)))]
        for row, (name, counts, parts) in enumerate(zip(classes, confusion.tolist(), share.tolist(), strict=True))
    ]
    caption = "Rows: true classes; columns: what the head says"
    return table(caption, ["true \\ predicted", *classes], rows, class_="matrix")


def _shaded(n: int, share: float, right: bool) -> Markup:
    colour = "var(--tint)" if right else "var(--bad)"
    percent = round(min(share, 1) * 55)
    return tag("td", f"{n:,}", style=f"background: color-mix(in srgb, {colour} {percent}%, transparent)")


def _confusions(confusion: np.ndarray, classes: Sequence[str]) -> Markup:
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    most = np.argsort(-mistakes, axis=None, kind="stable")[:MAX_CONFUSIONS]
    rows = [
        [classes[true], classes[said], f"{mistakes[true, said]:,}"]
        for true, said in zip(*np.unravel_index(most, mistakes.shape), strict=True)
        if mistakes[true, said]
    ]
    return table("The most frequent mistakes", ["true", "predicted", "images"], rows)


def _per_class(one: TrainedHead, classes: Sequence[str]) -> Markup:
    worst = sorted(range(len(classes)), key=lambda at: one.evaluation.per_class[at]["f1"])[:MAX_CLASSES]
    rows = [
        [row["class"], *(f"{row[score]:.3f}" for score in SCORES), f"{row['n']:,}"]
        for row in (one.evaluation.per_class[at] for at in worst)
    ]
    left_out = f"; the {MAX_CLASSES} worst of {len(classes):,}" if len(classes) > MAX_CLASSES else ""
    return table(f"Lowest F1 first{left_out}", ["class", "precision", "recall", "F1", "images"], rows)


def photos(
    rows: np.ndarray,
    found: Predictions,
    name: str,
    ids: Sequence[str],
    classes: Sequence[str],
    shown: Mapping[int, Markup],
) -> Markup:
    """Photos with what the head says of them and what they are."""
    items = []
    for row in rows.tolist():
        member, probabilities = int(found.members[row]), found.probabilities[name][row]
        said, true = int(probabilities.argmax()), int(found.y[row])
        words = tag("b", f"{classes[said]} {probabilities[said]:.3f}", class_="right" if said == true else "wrong")
        truth = f"label {classes[true]}" + ("" if said == true else f" ({probabilities[true]:.3f})")
        items.append(tag("li", shown[member], words, truth, tag("span", ids[member], class_="id"), class_="photo"))
    return tag("ul", items, class_="gallery")
