"""Stage two: train heads on the kept features, score them, save them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.defaults import MAX_BAD
from pipeline.errors import HeadError, StoreError, TooManyBadImages
from pipeline.heads import head_names, make_head
from pipeline.heads.files import save_head
from pipeline.heads.memory import available_memory, pooled_bytes
from pipeline.heads.sharing import SharedFeatures
from pipeline.plots import save_plots
from pipeline.scoring import Report, evaluate
from pipeline.store import FeatureStore
from pipeline.table import SPLITS

logger = logging.getLogger(__name__)
Split = tuple[Any, np.ndarray]  # SharedFeatures and labels
AT_HAND = 2**29  # bytes of features that the dense head holds while it reads them from disk


@dataclass(frozen=True)
class TrainedHead:
    """A fitted head and what it is worth.

    Attributes
    ----------
    name : str
    head : estimator
    report : Report
        On the validation images.
    test_report : Report, optional
        On the test images, if there are any.
    fit_seconds : float
    parameters : int
        Learned numbers.
    """

    name: str
    head: Any
    report: Report
    test_report: Report | None
    fit_seconds: float
    parameters: int

    def metrics(self) -> dict[str, Any]:
        """All of it but the head, for JSON."""
        return {
            "head": self.name,
            **self.report.to_json(),
            "test": self.test_report and self.test_report.to_json(),
            "fit_seconds": round(self.fit_seconds, 3),
            "parameters": self.parameters,
        }


def train_heads(
    store: FeatureStore,
    heads: Sequence[str] | None = None,
    *,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    max_bad: float = MAX_BAD,
    on_start: Callable[[str], None] = lambda name: None,
    on_epoch: Callable[..., None] | None = None,
    on_trained: Callable[[TrainedHead], None] = lambda trained: None,
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
    on_start, on_trained : callable
        Called with a head's name before it is trained, with the TrainedHead when it is saved.
    on_epoch : callable, optional
        Handed to heads that train in epochs.

    Returns
    -------
    list of TrainedHead
        Best validation accuracy first. Each is saved under `store.heads_directory / name`.

    Raises
    ------
    TooManyBadImages
    StoreError
        The store is not finished, or has no train or no validation images.
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
    _check_memory(store, made)
    whole = "dense" in made and not _is_too_large(store)
    splits = {split: _features(store, split, whole) for split in SPLITS if len(store.members(split))}
    if len(np.unique(splits["train"][1])) < 2:
        raise StoreError(f"{store.directory}: the train images with features are of one class; a head needs two")
    trained = []
    for name, head in made.items():
        on_start(name)
        trained.append(_train(name, head, store, splits, on_epoch))
        on_trained(trained[-1])
    return sorted(trained, key=lambda one: -one.report.accuracy)


def memory_needed(
    store: FeatureStore,
    heads: Sequence[str] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
) -> int:
    """The bytes of memory that `train_heads` takes for features at its peak, estimated before it starts.

    Parameters
    ----------
    store, heads, params
        See `train_heads`.

    Raises
    ------
    HeadError
        An unknown head, parameter or way of pooling.
    """
    return _memory_needed(store, _make(heads, params))


def _memory_needed(store: FeatureStore, made: Mapping[str, Any]) -> int:
    train, images = len(store.members("train")), len(store.members())
    pooling = [head for name, head in made.items() if name != "dense"]
    raw = images * store.bytes_per_row if "dense" in made else 0
    if _is_too_large(store):
        raw = min(raw, AT_HAND)
    return raw + pooled_bytes(pooling, train, images - train, store.feature_shape)


def _check_memory(store: FeatureStore, made: Mapping[str, Any]) -> None:
    pools = ", ".join(f"{name} with pool={head.pool}" for name, head in made.items() if name != "dense")
    needed, there = _memory_needed(store, made), available_memory()
    if pools and there is not None and needed > there:
        raise HeadError(
            f"{store.directory}: {pools} need {needed / 1e9:.1f} GB of memory, {there / 1e9:.1f} GB are free; "
            "take pool=avg instead of flatten, fewer heads at a time, or dense alone, which reads from disk"
        )


def _is_too_large(store: FeatureStore) -> bool:
    there = available_memory()
    return there is not None and len(store.members()) * store.bytes_per_row > there / 2


def _make(heads: Sequence[str] | None, params: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    return {name: make_head(name, **(params or {}).get(name, {})) for name in heads or head_names()}


def _features(store: FeatureStore, split: str, whole: bool) -> Split:
    rows, y = store.on_demand(split)
    return SharedFeatures(rows[:] if whole else rows), y


def check_ready(store: FeatureStore, max_bad: float = MAX_BAD) -> None:
    """Whether heads may be trained on a store.

    Raises
    ------
    TooManyBadImages, StoreError
    """
    if store.pending:
        raise StoreError(
            f"{store.directory}: {store.pending} of {len(store.images)} images have no features yet; "
            "run `features` again, it goes on where it was interrupted"
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
    on_epoch: Callable[..., None] | None,
) -> TrainedHead:
    in_epochs = {"validation_data": splits["validation"], "on_epoch": on_epoch} if name == "dense" else {}
    start = time.perf_counter()
    try:
        head.fit(*splits["train"], **in_epochs)
    except (ValueError, TypeError) as error:  # a parameter out of range, as scikit-learn or Keras says it
        raise HeadError(f"{name} cannot be trained: {error}") from error
    seconds = time.perf_counter() - start
    trained = TrainedHead(
        name=name,
        head=head,
        report=evaluate(head, *splits["validation"], classes=store.classes),
        test_report=evaluate(head, *splits["test"], classes=store.classes) if "test" in splits else None,
        fit_seconds=seconds,
        parameters=head.count_parameters(),
    )
    directory = store.heads_directory / name
    about = {"random_weights": store.random_weights, "train_images": len(splits["train"][1])}
    save_head(
        head,
        directory,
        classes=store.classes,
        fingerprint=store.fingerprint,
        metrics={**trained.metrics(), **about},
    )
    save_plots(trained.report, getattr(head, "history_", None), directory, title=title_of(name, store))
    return trained


def title_of(name: str, store: FeatureStore) -> str:
    """The heading of anything that shows a head's scores."""
    random = ", RANDOM WEIGHTS" if store.random_weights else ""
    return f"{name} on {store.manifest.spec['conv_base']}{random}"
