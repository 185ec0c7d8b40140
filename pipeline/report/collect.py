"""Everything that the report shows: read from the store, predicted by its heads, looked up among its images."""

from dataclasses import dataclass
from itertools import chain

import numpy as np

from pipeline.comparison import Comparison
from pipeline.duplicates.pairs import Duplicates
from pipeline.duplicates.saved_result import known_duplicates
from pipeline.errors import HeadError
from pipeline.extraction.callbacks import Callbacks
from pipeline.report.comparison import find_comparison
from pipeline.report.feature_map import FeatureMap, map_features
from pipeline.report.mistakes import Galleries, choose_galleries
from pipeline.report.predictions import Predictions, predict_validation
from pipeline.report.store_facts import store_name
from pipeline.report.thumbnails import Thumbnail, make_thumbnails
from pipeline.store import FeatureStore
from pipeline.training.saved_heads import SavedHead, advise_training, list_saved_heads
from pipeline.training.trained_head import TrainedHead

MAX_PAIRS = 12  # of duplicates, with pictures


@dataclass(frozen=True)
class ReportData:
    """Everything that the report shows."""

    store: FeatureStore
    heads: list[TrainedHead]  # with scores, the best first
    shown: TrainedHead | None  # in detail
    problems: dict[str, str]  # why a head has no curves and photos, by its name
    optimistic: set[str]  # names of heads whose epoch was chosen on the validation images
    predictions: Predictions
    galleries: Galleries | None  # of the head that is shown in detail, if it has probabilities
    duplicates: Duplicates
    feature_map: FeatureMap | None
    thumbnails: dict[str, Thumbnail]  # by the id of the image
    comparison: Comparison | None = None  # that the store is part of


def collect(store: FeatureStore, head: str | None, callbacks: Callbacks) -> ReportData:
    """Read and compute everything that the report shows; the parameters are those of `write_report`."""
    saved_heads = list_saved_heads(store)
    shown = _choose(store, saved_heads, head)
    predictions = predict_validation(store, [saved.name for saved in saved_heads if not saved.problem], callbacks)
    if head in predictions.problems:
        raise HeadError(f"the head {head} cannot be shown: {predictions.problems[head]}")
    callbacks.progress("drawing the feature map", 0, 1, "maps")
    feature_map = map_features(store)
    callbacks.progress("drawing the feature map", 1, 1, "maps")
    duplicates = known_duplicates(store)
    galleries = None
    if shown and shown.name in predictions.probabilities and len(predictions.y):
        galleries = choose_galleries(predictions.y, predictions.probabilities[shown.name])
    images = predictions.images[np.concatenate(galleries)].tolist() if galleries else []
    if pair_ids := set(chain.from_iterable(pair.ids for pair in duplicates.pairs[:MAX_PAIRS])):
        images += [i for i, id in enumerate(store.images.ids) if id in pair_ids]
    problems = {saved.name: f"{saved.problem}; {advise_training(store)}" for saved in saved_heads if saved.problem}
    problems |= predictions.problems
    # Readers need not know the folders above the store. The path `.` cannot be replaced, as it occurs in any text.
    if store.directory.name:
        path, name_only = str(store.directory), f".../{store_name(store)}"
        problems = {name: problem.replace(path, name_only) for name, problem in problems.items()}
    return ReportData(
        store=store,
        heads=[saved.trained for saved in saved_heads if saved.trained],
        shown=shown,
        problems=problems,
        optimistic={saved.name for saved in saved_heads if saved.metrics.get("epoch_chosen_on") == "validation"},
        predictions=predictions,
        galleries=galleries,
        duplicates=duplicates,
        feature_map=feature_map,
        thumbnails=make_thumbnails(store, images, callbacks),
        comparison=find_comparison(store),
    )


def _choose(store: FeatureStore, heads: list[SavedHead], name: str | None) -> TrainedHead | None:
    if name is None:
        return heads[0].trained if heads else None
    for head in heads:
        if head.name == name and head.trained:
            return head.trained
        if head.name == name:
            raise HeadError(f"the head {name} cannot be shown: {head.problem}")
    names = ", ".join(head.name for head in heads) or "none"
    raise HeadError(f"there is no head {name!r} in {store.heads_directory}; there are: {names}")
