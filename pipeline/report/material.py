"""What goes into the page: read from the store, asked of its heads, looked up among the images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from pipeline.duplicates.pairs import Duplicates
from pipeline.duplicates.saved_result import known_duplicates
from pipeline.errors import HeadError
from pipeline.extraction.callbacks import Callbacks
from pipeline.report import data, detail
from pipeline.report.feature_map import FeatureMap, map_features
from pipeline.report.html import Markup
from pipeline.report.scores import Predictions, predict_validation
from pipeline.report.thumbnails import thumbnails
from pipeline.store import FeatureStore
from pipeline.training.saved_heads import SavedHead, advise_training, list_saved_heads
from pipeline.training.trained_head import TrainedHead


@dataclass(frozen=True)
class Material:
    """All that goes into the page.

    Attributes
    ----------
    store : FeatureStore
    scores : list of TrainedHead
        The best first.
    shown : TrainedHead, optional
        The head shown in detail.
    problems : dict of str to str
        Heads that cannot be shown, or not asked, and why.
    predictions : Predictions
    found : Duplicates
    mapped : FeatureMap, optional
    gallery : Gallery, optional
        Of the head shown in detail, if it gives probabilities.
    pictures : dict of int to Markup
    """

    store: FeatureStore
    scores: list[TrainedHead]
    shown: TrainedHead | None
    problems: dict[str, str]
    predictions: Predictions
    found: Duplicates
    mapped: FeatureMap | None
    gallery: detail.Gallery | None
    pictures: dict[int, Markup]


def gather(store: FeatureStore, head: str | None, callbacks: Callbacks) -> Material:
    """Read and compute all that goes into the page; see `write_report` for the rest."""
    heads = list_saved_heads(store)
    problems = {one.name: f"{one.problem}; {advise_training(store)}" for one in heads if one.problem}
    shown = _choose(store, heads, head)
    predictions = predict_validation(store, [one.name for one in heads if not one.problem], callbacks)
    if head in predictions.problems:
        raise HeadError(f"the head {head} cannot be shown: {predictions.problems[head]}")
    callbacks.progress("drawing the feature map", 0, 1, "maps")
    mapped = map_features(store)
    callbacks.progress("drawing the feature map", 1, 1, "maps")
    found = known_duplicates(store)
    gallery = None
    if shown and shown.name in predictions.probabilities and len(predictions.y):
        gallery = detail.gallery_of(predictions.y, predictions.probabilities[shown.name])
    wanted = predictions.members[np.concatenate(gallery)].tolist() if gallery else []
    pictures = thumbnails(store, [*members_of(store, found), *wanted], callbacks)
    problems |= predictions.problems
    if store.directory.name:  # or it is `.`, which stands in any text
        place = data.place_of(store)
        problems = {name: text.replace(str(store.directory), place) for name, text in problems.items()}
    scores = [one.trained for one in heads if one.trained]
    return Material(store, scores, shown, problems, predictions, found, mapped, gallery, pictures)


def _choose(store: FeatureStore, heads: list[SavedHead], name: str | None) -> TrainedHead | None:
    if name is None:
        return heads[0].trained if heads else None
    for one in heads:
        if one.name == name and one.trained:
            return one.trained
        if one.name == name:
            raise HeadError(f"the head {name} cannot be shown: {one.problem}")
    names = ", ".join(one.name for one in heads) or "none"
    raise HeadError(f"there is no head {name!r} in {store.heads_directory}; there are: {names}")


def members_of(store: FeatureStore, found: Duplicates) -> list[int]:
    """The images of the pairs that are shown, as indices into `store.images`, pair by pair."""
    wanted = list(chain.from_iterable(pair.ids for pair in found.pairs[: data.MAX_PAIRS]))
    number = dict.fromkeys(wanted, -1)
    number |= {id: at for at, id in enumerate(store.images.ids) if id in number}
    return [number[id] for id in wanted]
