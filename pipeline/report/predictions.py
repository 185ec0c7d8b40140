"""Predictions of a store's heads for its validation images."""

from __future__ import annotations

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
    """Predictions of all heads for n validation images.

    Attributes
    ----------
    images : ndarray of shape (n,), int64
        Indices into `store.images`.
    y : ndarray of shape (n,), int
        True classes.
    n_validation : int
        Number of validation images. If it is more than n, `images` is a random sample.
    probabilities : dict of str to ndarray of shape (n, k), float32
        By the name of the head, for heads that have probabilities.
    rankings : dict of str to ndarray of shape (n,), float32
        Scores of the second of two classes on any scale, by the name of the head.
    problems : dict of str to str
        Why a head has no predictions, by its name.
    """

    images: np.ndarray
    y: np.ndarray
    n_validation: int
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)
    rankings: dict[str, np.ndarray] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def predict_validation(store: FeatureStore, names: list[str], callbacks: Callbacks) -> Predictions:
    """Predict the validation images with all heads called `names`, one block of features after the other.

    Raises
    ------
    StoreDamaged
        A row of features was changed after it was written.
    """
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
        if len(store.classes) == len(head.classes_) == 2 and (
            hasattr(head, "decision_function") or hasattr(head, "predict_proba")
        ):
            predictions.rankings[name] = np.zeros(n, np.float32)
    step = max(1, MAX_BLOCK_BYTES // store.bytes_per_row)
    for start in range(0, n if heads else 0, step):
        block = slice(start, start + step)
        features = SharedFeatures(store.read_rows(store.index.rows[predictions.images[block]]))
        for name, head in heads.items():
            _predict_block(name, head, features, block, predictions)
        callbacks.progress("scoring the heads", min(start + step, n), n, "rows")
    return predictions


def _sample_validation(store: FeatureStore) -> Predictions:
    images = store.members("validation")
    images = images[store.images.labels[images] >= 0]
    n_validation = len(images)
    if n_validation > MAX_IMAGES:
        images = np.sort(np.random.default_rng(0).choice(images, MAX_IMAGES, replace=False))
    return Predictions(images, store.images.labels[images], n_validation)


def _predict_block(name: str, head: Any, features: SharedFeatures, block: slice, predictions: Predictions) -> None:
    if name in predictions.probabilities:
        predictions.probabilities[name][block, head.classes_] = head.predict_proba(features)
    if name in predictions.rankings:
        has_scores = hasattr(head, "decision_function")
        predictions.rankings[name][block] = (
            head.decision_function(features) if has_scores else predictions.probabilities[name][block, 1]
        )
