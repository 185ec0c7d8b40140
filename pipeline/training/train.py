"""Stage two: train heads on the kept features, score them, save them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pipeline.defaults import MAX_BAD
from pipeline.errors import HeadError, StoreError, TooManyBadImages
from pipeline.evaluation import Repeats, evaluate, rank, seeds_of
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.heads import head_names, make_head
from pipeline.heads.lazy_rows import Kept
from pipeline.heads.memory import available_memory, pooled_bytes
from pipeline.heads.shared_features import SharedFeatures
from pipeline.images.table import SPLITS
from pipeline.store import FeatureStore, count_views, stack_views
from pipeline.training.result import TrainedHead, save_trained

logger = logging.getLogger(__name__)
AT_HAND = 2**29  # bytes of features that the dense head holds while it reads them from disk


class Split(NamedTuple):
    """The images of a split that have features."""

    X: SharedFeatures
    y: np.ndarray
    resampling_groups: np.ndarray  # equal where images are drawn as one
    groups: np.ndarray | None = None  # of rows that are views of one image


def train_heads(
    store: FeatureStore,
    heads: Sequence[str] | None = None,
    *,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    max_bad: float = MAX_BAD,
    repeats: int = 1,
    views: int | None = None,
    callbacks: Callbacks = SILENT,
) -> list[TrainedHead]:
    """Train heads on a store's train images, score them on its validation images, save them.

    Parameters
    ----------
    store : FeatureStore
    heads : sequence of str, optional
        Names of `head_names()`; all of them if not given.
    params : mapping of head name to parameters, optional
        `{"logistic": {"C": 0.1}, "dense": {"epochs": 20}}`.
    max_bad : float
        The largest fraction of images without features.
    repeats : int
        Train each head with so many seeds, its own and those after it; the first is kept, whichever is
        the best. Heads in which no seed changes anything are trained once.
    views : int, optional
        Views of each train image to train on, view 0 among them; all that the store has if not
        given. The dense head draws one of them an image and epoch, the others take each as a row.
        Heads are scored on view 0.
    callbacks : Callbacks, optional
        `head_started`, `epoch_done` and `head_trained` are called.

    Returns
    -------
    list of TrainedHead
        The best first; see `pipeline.evaluation.rank`. Each is saved under `store.heads_directory / name`.

    Raises
    ------
    TooManyBadImages
    StoreError
        The store or a view is not finished, there are fewer views, or no train or no validation images.
    HeadError
        An unknown head or parameter, or the heads need more memory than there is.

    Notes
    -----
    Features are read through memory maps. Those that scikit-learn heads need are pooled and scaled
    once for all heads of a call. The dense head is given all features in memory, as stored, where
    they take no more than half of what is free, and otherwise reads them again each epoch. See
    `memory_needed`.
    """
    made = _make(heads, params)
    check_ready(store, max_bad)
    views = count_views(store.directory) if views is None else views
    _check_memory(store, made, views)
    whole = "dense" in made and not _is_too_large(store, views)
    splits = {split: _features(store, split, whole) for split in SPLITS if len(store.members(split))}
    if views > 1:
        splits["train"] = _features_in_views(store, views, whole)
    if len(np.unique(splits["train"].y)) < 2:
        raise StoreError(f"{store.directory}: the train images with features are of one class; a head needs two")
    trained = []
    for name, head in made.items():
        callbacks.head_started(name)
        one = _train(name, head, store, splits, repeats, callbacks)
        trained.append(replace(one, views=views))
        save_trained(trained[-1], store, len(store.members("train")))
        callbacks.head_trained(name, trained[-1].evaluation.accuracy, trained[-1].fit_seconds)
    return sorted(trained, key=lambda one: rank(one.name, one.evaluation.accuracy, one.evaluation.auc, one.parameters))


def memory_needed(
    store: FeatureStore,
    heads: Sequence[str] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    views: int | None = None,
) -> int:
    """The bytes of memory that `train_heads` takes for features at its peak, estimated before it starts.

    Parameters
    ----------
    store, heads, params, views
        See `train_heads`.

    Raises
    ------
    HeadError
        An unknown head, parameter or way of pooling.
    """
    return _memory_needed(store, _make(heads, params), count_views(store.directory) if views is None else views)


def _memory_needed(store: FeatureStore, made: Mapping[str, Any], views: int) -> int:
    train, rows = views * len(store.members("train")), _rows(store, views)
    pooling = [head for name, head in made.items() if name != "dense"]
    raw = rows * store.bytes_per_row if "dense" in made else 0
    if _is_too_large(store, views):
        raw = min(raw, AT_HAND)
    return raw + pooled_bytes(pooling, train, rows - train, store.feature_shape)


def _rows(store: FeatureStore, views: int) -> int:
    return len(store.members()) + (views - 1) * len(store.members("train"))


def _check_memory(store: FeatureStore, made: Mapping[str, Any], views: int) -> None:
    pools = ", ".join(f"{name} with pool={head.pool}" for name, head in made.items() if name != "dense")
    needed, there = _memory_needed(store, made, views), available_memory()
    if pools and there is not None and needed > there:
        raise HeadError(
            f"{store.directory}: {pools} need {needed / 1e9:.1f} GB of memory, {there / 1e9:.1f} GB are free; "
            "take pool=avg instead of flatten, fewer heads or views at a time, or dense alone, which reads from disk"
        )


def _is_too_large(store: FeatureStore, views: int) -> bool:
    there = available_memory()
    return there is not None and _rows(store, views) * store.bytes_per_row > there / 2


def _make(heads: Sequence[str] | None, params: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    return {name: make_head(name, **(params or {}).get(name, {})) for name in heads or head_names()}


def _features(store: FeatureStore, split: str, whole: bool) -> Split:
    features, y = store.on_demand(split)
    return Split(SharedFeatures(Kept(features[:]) if whole else features), y, store.resampling_groups(split))


def _features_in_views(store: FeatureStore, views: int, whole: bool) -> Split:
    features, y, groups = stack_views(store, "train", views)
    return Split(SharedFeatures(Kept(features[:]) if whole else features), y, groups, groups)


def check_ready(store: FeatureStore, max_bad: float = MAX_BAD) -> None:
    """Whether heads may be trained on a store.

    Raises
    ------
    TooManyBadImages, StoreError
    """
    if store.pending:
        raise StoreError(
            f"{store.directory}: {store.pending} of {len(store.images)} images have no features yet; "
            f"run `python -m pipeline features IMAGES --cache {store.directory}` again, it goes on"
        )
    if len(store.bad) > max_bad * len(store.images):
        first = ", ".join(f"{bad.id} ({bad.reason})" for bad in store.bad[:3])
        raise TooManyBadImages(
            f"{store.directory}: {len(store.bad)} of {len(store.images)} images cannot be used, more than "
            f"{max_bad:.1%}: {first}{' ...' if len(store.bad) > 3 else ''}; mend or remove them, or raise --max-bad"
        )
    for split in ("train", "validation"):
        if not len(store.members(split)):
            raise StoreError(f"{store.directory} has no {split} images; add images, or give the splits yourself")


def _train(
    name: str,
    head: Any,
    store: FeatureStore,
    splits: Mapping[str, Split],
    repeats: int,
    callbacks: Callbacks,
) -> TrainedHead:
    seconds = _fit(head, splits, callbacks)
    reports = {
        split: evaluate(head, part.X, part.y, classes=store.classes, groups=part.resampling_groups)
        for split, part in splits.items()
        if split != "train"
    }
    accuracies = [reports["validation"].accuracy]
    seeds = seeds_of(head, repeats)
    for seed in seeds[1:]:
        callbacks.head_started(f"{name} with seed {seed}")
        again = make_head(name, **{**head.get_params(), "random_state": seed})
        _fit(again, splits, callbacks)
        accuracies.append(float(np.mean(again.predict(splits["validation"].X) == splits["validation"].y)))
    return TrainedHead(
        name=name,
        head=head,
        evaluation=reports["validation"],
        test_evaluation=reports.get("test"),
        fit_seconds=seconds,
        parameters=head.count_parameters(),
        repeats=Repeats(tuple(seeds), tuple(accuracies)) if repeats > 1 else None,
    )


def _fit(head: Any, splits: Mapping[str, Split], callbacks: Callbacks) -> float:
    """Train a head; returns the seconds it took."""
    validation = splits["validation"]
    in_epochs: dict[str, Any] = {}
    if head.name == "dense":
        in_epochs["validation_data"] = validation.X, validation.y
        in_epochs["on_epoch"] = lambda epoch, scores: callbacks.epoch_done(head.name, epoch, head.epochs, scores)
    start = time.perf_counter()
    try:
        head.fit(splits["train"].X, splits["train"].y, groups=splits["train"].groups, **in_epochs)
    except (ValueError, TypeError) as error:  # a parameter out of range, as scikit-learn or Keras says it
        raise HeadError(f"{head.name} cannot be trained: {error}") from error
    return time.perf_counter() - start
