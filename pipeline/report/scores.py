"""What the heads of a store say of its validation images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import HeadError, StoreMismatch
from pipeline.extraction.callbacks import Callbacks
from pipeline.heads.files import load_head
from pipeline.heads.shared_features import SharedFeatures
from pipeline.store import FeatureStore

MAX_SCORED = 20_000  # validation images that heads are asked about; of more, a fixed random sample
BLOCK_BYTES = 64 << 20  # of features in memory


@dataclass
class Predictions:
    """What heads say of validation images.

    Attributes
    ----------
    members : ndarray of shape (n,), int64
        The images, as indices into `store.images`.
    y : ndarray of shape (n,)
        Their labels.
    of : int
        Validation images there are; more than n where a sample was taken.
    probabilities : dict of str to ndarray of shape (n, classes), float32
        By the head's name, for heads that give some.
    rankings : dict of str to ndarray of shape (n,), float32
        How sure a head is of the second of two classes, on any scale.
    problems : dict of str to str
        Why a head was not asked.
    """

    members: np.ndarray
    y: np.ndarray
    of: int
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)
    rankings: dict[str, np.ndarray] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def predict_validation(store: FeatureStore, names: list[str], callbacks: Callbacks) -> Predictions:
    """Ask heads about the validation images, all heads about a block of features at a time.

    Raises
    ------
    StoreDamaged
        A row of features is not what was written.
    """
    found = _chosen(store)
    heads = _load(store, names, found)
    labelled = len(found.members)
    for name, head in heads.items():
        if hasattr(head, "predict_proba"):
            found.probabilities[name] = np.zeros((labelled, len(store.classes)), np.float32)
        if len(store.classes) == len(head.classes_) == 2:
            found.rankings[name] = np.zeros(labelled, np.float32)
    step = max(1, BLOCK_BYTES // store.bytes_per_row)
    for start in range(0, labelled if heads else 0, step):
        part = slice(start, start + step)
        features = SharedFeatures(store.read_rows(store.index.rows[found.members[part]]))
        for name, head in heads.items():
            _predict(head, features, name, part, found)
        callbacks.progress("scoring the heads", min(start + step, labelled), labelled, "rows")
    return found


def _chosen(store: FeatureStore) -> Predictions:
    members = store.members("validation")
    members = members[store.images.labels[members] >= 0]
    of = len(members)
    if of > MAX_SCORED:
        members = np.sort(np.random.default_rng(0).choice(members, MAX_SCORED, replace=False))
    return Predictions(members, store.images.labels[members], of)


def _load(store: FeatureStore, names: list[str], found: Predictions) -> dict[str, Any]:
    heads = {}
    for name in names:
        try:
            heads[name] = load_head(store.heads_directory / name, fingerprint=store.fingerprint)
        except (HeadError, StoreMismatch) as error:
            found.problems[name] = str(error)
    return heads


def _predict(head: Any, features: SharedFeatures, name: str, part: slice, found: Predictions) -> None:
    if name in found.probabilities:
        found.probabilities[name][part, head.classes_] = head.predict_proba(features)
    if name in found.rankings:
        if hasattr(head, "decision_function"):
            found.rankings[name][part] = head.decision_function(features)
        elif name in found.probabilities:
            found.rankings[name][part] = found.probabilities[name][part, 1]
        else:
            del found.rankings[name]
