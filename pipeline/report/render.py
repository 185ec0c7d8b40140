"""Fill the templates of the report."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline import __version__
from pipeline.images.table import SPLITS
from pipeline.report import figures, store_facts
from pipeline.report.calibration import measure_calibration
from pipeline.report.collect import MAX_PAIRS, ReportData
from pipeline.report.comparison import comparison_context
from pipeline.report.environment import environment
from pipeline.report.feature_map import MAX_DIMENSIONS
from pipeline.report.predictions import Predictions
from pipeline.report.svg import N_COLOURS
from pipeline.store import FeatureStore
from pipeline.text import COMMAND
from pipeline.training.trained_head import TrainedHead


def render(data: ReportData) -> str:
    """Return the report as an HTML document."""
    store = data.store
    context = {
        **vars(data),
        "title": store_facts.report_title(store),
        "store_name": store_facts.store_name(store),
        "facts": store_facts.feature_facts(store),
        "splits": SPLITS,
        "command": COMMAND,
        "date_of_store": time.strftime("%d %B %Y", time.gmtime((store.directory / "manifest.json").stat().st_mtime)),
        "date_of_report": time.strftime("%d %B %Y, %H:%M UTC", time.gmtime()),
        "release": __version__,
        "pairs": data.duplicates.pairs[:MAX_PAIRS],
        "map": _map(data),
        # Names of heads need not be valid ids.
        "anchors": {head.name: f"head-{i}" for i, head in enumerate(data.heads, 1)},
        **_leaderboard(store, data.heads),
        **_curves(data.predictions),
        **_figures_by_head(data),
        **(comparison_context(data.comparison) if data.comparison else {}),
    }
    context["sections"] = _sections(data, context["anchors"])
    return environment().get_template("page.html").render(context)


def _sections(data: ReportData, anchors: dict[str, str]) -> list[tuple[str, str, str]]:
    """List id, heading and template of each section."""
    sections = [("leaderboard", "Leaderboard", "leaderboard.html")]
    if data.duplicates.pairs or data.duplicates.near:
        sections.append(("duplicates", "Duplicates", "duplicates.html"))
    if data.shown:
        heading = "Best head" if data.shown is data.heads[0] else "Head"
        sections.append((anchors[data.shown.name], f"{heading}: {data.shown.name}", "head.html"))
    if len(data.heads) > 1:
        sections.append(("others", "Other heads", "other_heads.html"))
    if data.comparison:
        sections.append(("comparison", "Comparison with other conv bases", "comparison.html"))
    sections.append(("map", "Map of the features", "feature_map.html"))
    sections.append(("store", "What the store holds", "store.html"))
    return sections


def _leaderboard(store: FeatureStore, heads: Sequence[TrainedHead]) -> dict[str, Any]:
    """Return the baseline that always predicts the largest class, and the scale of the intervals."""
    labels = store.images.labels[store.members("validation")]
    counts = np.bincount(labels[labels >= 0], minlength=len(store.classes))
    n_validation = int(counts.sum())
    baseline = float(counts.max() / max(1, n_validation))
    evaluations = [head.evaluation for head in heads]
    lowest = min((min([e.accuracy, *(e.accuracy_interval or ())]) for e in evaluations), default=0.0)
    # The scale starts at a round number below all intervals, or at 0 if a head is no better than the baseline.
    start = math.floor(max(0.0, lowest - 0.01) * 20) / 20 if lowest > baseline else 0.0
    return {
        "n_validation": n_validation,
        "largest_class": store.classes[int(counts.argmax())],
        "baseline": baseline,
        "balanced_baseline": 1 / max(1, int(np.count_nonzero(counts))),
        "scale_start": start,
        "on_scale": lambda score: min(1.0, max(0.0, (score - start) / (1 - start))),
    }


def _curves(predictions: Predictions) -> dict[str, Any]:
    """Draw ROC and precision-recall curves, if there are two classes and both have images."""
    is_positive, rankings = predictions.y == 1, predictions.rankings
    if not rankings or len(np.unique(predictions.y)) != 2:
        return {"curves": None}
    side = figures.visible_side(is_positive, rankings)
    dashes = list(figures.DASHES)
    return {
        "curves": [draw(is_positive, rankings, side) for draw in (figures.draw_roc, figures.draw_precision_recall)],
        "curve_legend": [(dashes[i % len(dashes)], i % N_COLOURS, name) for i, name in enumerate(rankings)],
        "curves_are_whole": side == 1,
    }


def _figures_by_head(data: ReportData) -> dict[str, Any]:
    """Return training curves, calibration and reliability diagrams by the name of the head, if it has them."""
    y, histories = data.predictions.y, {}
    for head in data.heads:
        scores = [score for score in ("loss", "accuracy") if head.history.get(score)]
        histories[head.name] = [figures.draw_history(head.history, score, head.name) for score in scores]
    probabilities = data.predictions.probabilities if len(y) else {}
    calibrations = {name: measure_calibration(y, p) for name, p in probabilities.items()}
    diagrams = {name: figures.draw_reliability(calibration, name) for name, calibration in calibrations.items()}
    return {"histories": histories, "calibrations": calibrations, "reliability_diagrams": diagrams}


def _map(data: ReportData) -> dict[str, Any] | None:
    """Draw the feature map; the largest classes have a colour each, the others share the last one."""
    feature_map, classes = data.feature_map, data.store.classes
    if feature_map is None:
        return None
    labels = data.store.images.labels[feature_map.images]
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    n_own = N_COLOURS if len(classes) <= N_COLOURS else N_COLOURS - 1
    own = np.sort(np.argsort(-counts, kind="stable")[:n_own])
    colours = np.full(len(classes) + 1, N_COLOURS - 1)  # the last entry is that of the label -1
    colours[own] = np.arange(len(own))
    names = [classes[i] for i in own.tolist()]
    if len(classes) > len(names):
        names.append(f"{len(classes) - len(names)} other classes")
    return {
        "figure": figures.draw_feature_map(feature_map.points, colours[labels]),
        "legend": list(zip(figures.MARKERS.values(), range(N_COLOURS), names, strict=False)),
        "n_images": len(labels),
        "n_with_features": feature_map.n_with_features,
        "dimensions": MAX_DIMENSIONS,
    }
