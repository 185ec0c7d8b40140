"""All heads side by side: the leaderboard, and curves over every threshold."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from pipeline.evaluation import with_interval
from pipeline.evaluation.bootstrap import Interval
from pipeline.report.calibration import expected_calibration_error, mean_brier_score, reliability_pairs
from pipeline.report.figures import DASHES, Figures, corner_of
from pipeline.report.html import Markup, join, table, tag
from pipeline.report.scores import Predictions
from pipeline.report.style import LIGHT
from pipeline.training.trained_head import TrainedHead


def leaderboard(
    scores: Sequence[TrainedHead], problems: Collection[str], labels: np.ndarray, classes: Sequence[str]
) -> Markup:
    """Accuracy and the rest, a line a head, above what guessing the largest class gives.

    Parameters
    ----------
    scores : sequence of TrainedHead
        The best first.
    problems : collection of str
        The names of heads that more is said of below.
    labels : ndarray of shape (n,)
        Of all validation images; there may be none.
    classes : sequence of str
    """
    counts = np.bincount(labels, minlength=len(classes))
    baseline = float(counts.max() / len(labels)) if len(labels) else 0.0
    lowest = _lowest(scores, baseline)
    with_auc, with_test, with_repeats = (
        any(value is not None for value in values)
        for values in (
            [one.evaluation.auc for one in scores],
            [one.test_evaluation for one in scores],
            [one.repeats for one in scores],
        )
    )
    header: list[object] = ["head", "accuracy", _scale(lowest), "balanced"]
    header += [*["AUC"] * with_auc, *["test"] * with_test, *["over seeds"] * with_repeats, "seconds", "parameters"]
    rows: list[list[object]] = []
    for one in scores:
        name = tag("a", one.name, href=f"#{anchor(scores, one)}")
        name = join(name, [tag("span", " see below", class_="range")] * (one.name in problems))
        scored, test = one.evaluation, one.test_evaluation
        accuracy = _score(scored.accuracy, scored.accuracy_interval)
        row = [name, accuracy, _whisker(one, lowest), f"{scored.balanced_accuracy:.4f}"]
        optional = [_score(scored.auc, scored.auc_interval)] * with_auc
        optional += [_score(test.accuracy if test else None)] * with_test
        optional += [_in_two_lines(str(one.repeats or ""))] * with_repeats
        rows.append([*row, *optional, f"{one.fit_seconds:.2f}", f"{one.parameters:,}"])
    if len(labels):
        chance = [f"{1 / np.count_nonzero(counts):.4f}", *["0.5000"] * with_auc, *[""] * (with_test + with_repeats)]
        rows.append([f"always {classes[int(counts.argmax())]}", f"{baseline:.4f}", "", *chance, "", ""])
    heads = f"Heads on {len(labels):,} validation images" if len(labels) else "Heads"
    return join(
        table(f"{heads}, best accuracy first", header, rows, class_="wide"),
        tag("p", _reading(scores, len(labels)), class_="soft"),
        None if len(labels) else _no_validation(),
    )


def anchor(scores: Sequence[TrainedHead], one: TrainedHead) -> str:
    """The id of a head's part of the page: names are not always fit to be one."""
    return f"head-{scores.index(one) + 1}"


def _reading(scores: Sequence[TrainedHead], n: int) -> str:
    text = "The last line is the baseline: what guessing the largest class gets. " if n else ""
    if any(one.evaluation.accuracy_interval for one in scores):
        text += (
            "Brackets are 95 % bootstrap intervals: heads whose intervals overlap widely may well change places on "
            "other images. "
        )
    if any(one.repeats for one in scores):
        text += (
            "Over seeds: mean, standard deviation and range of the accuracy over several trainings; the first one is "
            "kept. "
        )
    return text + "Seconds are those of training on the cached features."


def _no_validation() -> Markup:
    text = "The store has no validation images now, so there are no curves and no photos: give some the split "
    return tag("p", text, "`validation` and run `features` again.", class_="warning")


def _score(score: float | None, interval: Interval | None = None) -> Markup:
    return join() if score is None else _in_two_lines(with_interval(score, interval))


def _in_two_lines(text: str) -> Markup:
    """A score, and the range that follows it below, smaller."""
    score, *ranges = re.split(r" (?=[\[(])", text, maxsplit=1)
    return join(score, [tag("span", f" {range}", class_="range") for range in ranges])


def _lowest(scores: Sequence[TrainedHead], baseline: float) -> float:
    """Where the whiskers' scale begins: a round number below everything but the baseline."""
    lows = [min([one.evaluation.accuracy, *(one.evaluation.accuracy_interval or ())]) for one in scores]
    return math.floor(max(0.0, min(lows) - 0.01) * 20) / 20 if min(lows) > baseline else 0.0


def _scale(lowest: float) -> Markup:
    return tag("span", tag("span", f"{lowest:.2f}"), tag("span", "1"), class_="scale")


def _whisker(one: TrainedHead, lowest: float) -> Markup:
    """A dot on a line from `lowest` to 1, and the interval."""

    def at(score: float) -> str:
        return f"{4 + 142 * min(1.0, max(0.0, (score - lowest) / (1 - lowest))):.1f}" if lowest < 1 else "4"

    colour = "var(--tint)"
    low, high = one.evaluation.accuracy_interval or (one.evaluation.accuracy, one.evaluation.accuracy)
    return tag(
        "svg",
        tag("line", x1=4, x2=146, y1=9, y2=9, stroke="var(--line)", stroke_width=1),
        tag("line", x1=at(low), x2=at(high), y1=9, y2=9, stroke=colour, stroke_width=3, opacity=0.55),
        tag("circle", cx=at(one.evaluation.accuracy), cy=9, r=4, fill=colour),
        class_="whisker",
        viewBox="0 0 150 18",
        aria_hidden="true",
    )


def thresholds(
    figures: Figures, found: Predictions, scores: Sequence[TrainedHead], classes: Sequence[str]
) -> Markup | None:
    """ROC and precision-recall curves of two classes, a colour a head, in the order of the leaderboard."""
    rankings = {one.name: found.rankings[one.name] for one in scores if one.name in found.rankings}
    if not rankings or len(np.unique(found.y)) != 2:
        return None
    number = {name: at for at, name in enumerate(rankings)}
    corner = corner_of(found.y, rankings)
    return join(
        tag("h3", "At every threshold"),
        tag("ul", [tag("li", _stroke(at), name) for name, at in number.items()], class_="legend"),
        tag(
            "div",
            tag("figure", figures.roc(found.y, rankings, number, corner)),
            tag("figure", figures.precision_recall(found.y, rankings, number, corner)),
            class_="figures",
        ),
        tag(
            "p",
            f"Found are {classes[1]}. ROC: the share of them that is found against the share of {classes[0]} taken for "
            "them; precision: the share of what is found that is right.",
            " The thin dotted lines are guessing." if corner == 1 else None,
            class_="soft",
        ),
    )


def _stroke(number: int) -> Markup:
    dash = ("solid", "dashed", "dotted")[number % len(DASHES)]
    return tag(
        "span", class_="stroke", style=f"border-top: 3px {dash} var(--c{number % len(LIGHT)})", aria_hidden="true"
    )


def calibrations(found: Predictions, scores: Sequence[TrainedHead]) -> Markup | None:
    """How far the probabilities of each head can be taken at their word."""
    rows = []
    for one in scores if len(found.y) else ():
        if one.name in found.probabilities:
            p = found.probabilities[one.name]
            error = expected_calibration_error(*reliability_pairs(found.y, p))
            rows.append([one.name, f"{mean_brier_score(found.y, p):.4f}", f"{error:.4f}"])
    if not rows:
        return None
    return join(
        tag("h3", "Are the probabilities honest?"),
        table("Calibration on validation images", ["head", "Brier score", "calibration error"], rows),
        tag(
            "p",
            "Both are better the lower. Brier score: the mean squared error of the probabilities. Calibration error: "
            "how far, on average, what was said with a probability is from how often it was so.",
            class_="soft",
        ),
    )


def problems(found: Mapping[str, str]) -> Markup | None:
    """Heads that are not shown, and why."""
    if not found:
        return None
    by_reason: dict[str, list[str]] = {}
    for name, reason in found.items():
        by_reason.setdefault(reason, []).append(name)
    return tag(
        "div",
        tag("p", tag("b", "Heads without curves and photos:")),
        tag("ul", [tag("li", tag("b", ", ".join(names)), f": {reason}") for reason, names in by_reason.items()]),
        class_="warning",
    )
