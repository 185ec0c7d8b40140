"""Predictions of a store's heads for its validation images."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import HeadError, StoreMismatch
from pipeline.extraction.callbacks import Callbacks
from pipeline.heads.load_head import load_head
from pipeline.heads.shared_features import SharedFeatures
from pipeline.store import FeatureStore

MAX_IMAGES = 20_000  # a larger validation split is sampled
MAX_BLOCK_BYTES = 64 << 20  # of features in memory


@dataclass
class Predictions:
    """Predictions for n validation images; the keys of each dict are names of heads."""

    images: np.ndarray  # (n,): indices into `store.images`
    y: np.ndarray  # (n,): true classes
    n_validation: int  # if it is more than n, `images` is a random sample
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)  # (n, k), of heads that have probabilities
    rankings: dict[str, np.ndarray] = field(default_factory=dict)  # (n,): scores of the second of two classes
    problems: dict[str, str] = field(default_factory=dict)  # why a head has no predictions


def predict_validation(store: FeatureStore, names: list[str], callbacks: Callbacks) -> Predictions:
    """Predict the validation images with all heads called `names`, one block of features after the other."""
    predictions = _sample_validation(store)
    heads: dict[str, Any] = {}
    n = len(predictions.images)
    for name in names:
        try:
            head = heads[name] = load_head(store.heads_directory / name, fingerprint=store.fingerprint)
        except (HeadError, StoreMismatch) as error:
            predictions.problems[name] = str(error)
            continue
        if hasattr(head, "predict_proba"):
            predictions.probabilities[name] = np.zeros((n, len(store.classes)), np.float32)
        if len(store.classes) == len(head.classes_) == 2:
            predictions.rankings[name] = np.zeros(n, np.float32)
    step = max(1, MAX_BLOCK_BYTES // store.bytes_per_row)
    for start in range(0, n if heads else 0, step):
        block = slice(start, start + step)
        features = SharedFeatures(store.read_rows(store.index.rows[predictions.images[block]]))
        for name, head in heads.items():
            if name in predictions.probabilities:
                predictions.probabilities[name][block, head.classes_] = head.predict_proba(features)
            if name in predictions.rankings:
                has_scores = hasattr(head, "decision_function")
                scores = head.decision_function(features) if has_scores else predictions.probabilities[name][block, 1]
                predictions.rankings[name][block] = scores
        callbacks.progress("scoring the heads", min(start + step, n), n, "rows")
    return predictions


def _sample_validation(store: FeatureStore) -> Predictions:
    images = store.members("validation")
    images = images[store.images.labels[images] >= 0]
    n_validation = len(images)
    if n_validation > MAX_IMAGES:
        images = np.sort(np.random.default_rng(0).choice(images, MAX_IMAGES, replace=False))
    return Predictions(images, store.images.labels[images], n_validation)
