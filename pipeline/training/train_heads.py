"""Stage two: train heads on the features of a store, score them and save them."""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.cluster import Cluster
from pipeline.defaults import MAX_BAD
from pipeline.errors import HeadError, StoreError, TooManyBadImages
from pipeline.evaluation import Repeats, seeds_of
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.heads.rows_on_demand import ArrayRows
from pipeline.heads.shared_features import SharedFeatures
from pipeline.store import FeatureStore, count_views
from pipeline.text import COMMAND
from pipeline.training.fit_and_score import make_with_seed, open_splits, train_again, train_head
from pipeline.training.make_heads import Params, make_heads
from pipeline.training.memory import check_memory, fits_in_memory
from pipeline.training.on_cluster import FailedHead, train_on_cluster
from pipeline.training.save_with_scores import save_trained_head
from pipeline.training.trained_head import TrainedHead


def train_heads(
    store: FeatureStore,
    heads: Sequence[str] | None = None,
    *,
    params: Params | None = None,
    max_bad: float = MAX_BAD,
    repeats: int = 1,
    views: int | None = None,
    callbacks: Callbacks = SILENT,
    cluster: Cluster | None = None,
) -> list[TrainedHead]:
    """Train heads on a store's train images, score them on its validation images and save them.

    A head that cannot be trained, because its loss is not finite for example, does not stop the others.

    Parameters
    ----------
    store : FeatureStore
    heads : sequence of str, optional
        Names of `head_names()`; all of them if not given.
    params : mapping of str to mapping, optional
        Parameters by the name of the head: `{"logistic": {"C": 0.1}, "dense": {"epochs": 20}}`.
    max_bad : float
        The largest accepted fraction of images without features.
    repeats : int
        Number of seeds to train each head with: its own and the following ones. The head of the first
        seed is saved, whichever is the best. Heads that no seed changes are trained once.
    views : int, optional
        Number of views of each train image to train on, view 0 included; all views of the store if
        not given. The dense head draws one view of each image in each epoch, the other heads take
        every view as a row. Heads are scored on view 0.
    callbacks : Callbacks, optional
        `head_started`, `epoch_done`, `head_trained` and `head_failed` are called.
    cluster : Cluster, optional
        Heads, seeds and parts of searches are tasks of its workers, which must have the store under the same path. The
        heads are the same; `fit_seconds` is the sum over the tasks of a head, and `epoch_done` is called when a head is
        trained. Below `MIN_CLUSTER_ROWS` rows it is not faster.

    Returns
    -------
    list of TrainedHead
        The heads that were trained, the best first; see `TrainedHead.rank`. Each is saved under
        `store.heads_directory / name`.

    Raises
    ------
    TooManyBadImages
        More images than `max_bad` have no features.
    StoreError
        The store or a view is not complete, it has fewer views, or no train or no validation images.
    HeadError
        A head or parameter is unknown, the heads need more memory than is free, or none could be trained.
    ClusterError
        No worker has the store, or tasks failed on several workers; the heads that were finished are saved.

    Notes
    -----
    Features are read through memory maps. Those that scikit-learn heads need are pooled and scaled
    once for all heads of a call. The dense head gets all features in memory, as stored, where they
    take no more than half of the free memory, and reads them again in each epoch otherwise. See
    `memory_needed`. With a cluster, pooled and scaled features are files in the store until the end, which workers map
    into memory; the dense head reads the shards.
    """
    estimators = make_heads(heads, params)
    check_ready(store, max_bad)
    views = count_views(store.directory) if views is None else views
    if cluster is None:
        results = _train_here(store, estimators, repeats, views, callbacks)
    else:
        results = train_on_cluster(store, estimators, repeats, views, callbacks, cluster)
    trained, failures = [], []
    with contextlib.closing(results):
        for result in results:
            if isinstance(result, FailedHead):
                failures.append(result.reason)
                callbacks.head_failed(result.name, result.reason)
                continue
            save_trained_head(result, store)
            callbacks.head_trained(result.name, result.evaluation.accuracy, result.fit_seconds)
            trained.append(result)
    if not trained:
        raise HeadError("; ".join(failures))
    return sorted(trained, key=TrainedHead.rank)


def check_ready(store: FeatureStore, max_bad: float) -> None:
    """Raise StoreError or TooManyBadImages if heads cannot be trained on a store."""
    if store.pending:
        raise StoreError(
            f"{store.directory}: {store.pending} of {len(store.images)} images have no features yet; "
            f"run `{COMMAND} features IMAGES --cache {store.directory}` again, it continues"
        )
    if len(store.bad) > max_bad * len(store.images):
        first = ", ".join(f"{bad.id} ({bad.reason})" for bad in store.bad[:3])
        raise TooManyBadImages(
            f"{store.directory}: {len(store.bad)} of {len(store.images)} images cannot be used, more than "
            f"{max_bad:.1%}: {first}{' ...' if len(store.bad) > 3 else ''}; repair or remove them, or raise --max-bad"
        )
    for split in ("train", "validation"):
        if not len(store.members(split)):
            raise StoreError(f"{store.directory} has no {split} images; add images, or assign the splits yourself")
    if len(np.unique(store.images.labels[store.members("train")])) < 2:
        raise StoreError(f"{store.directory}: the train images with features are of one class; a head needs two")


def _train_here(
    store: FeatureStore, heads: Mapping[str, Any], repeats: int, views: int, callbacks: Callbacks
) -> Generator[TrainedHead | FailedHead]:
    check_memory(store, heads, views)
    in_memory = "dense" in heads and fits_in_memory(store, views)
    splits = {
        name: split._replace(X=SharedFeatures(ArrayRows(split.X[:]) if in_memory else split.X))
        for name, split in open_splits(store, views).items()
    }
    for name, head in heads.items():
        callbacks.head_started(name)
        try:
            trained = train_head(head, store, splits, views, callbacks)
            accuracies, seeds = [trained.evaluation.accuracy], seeds_of(head, repeats)
            for seed in seeds[1:]:
                callbacks.head_started(f"{name} with seed {seed}")
                accuracies.append(train_again(make_with_seed(head, seed), splits, callbacks))
        except HeadError as error:
            yield FailedHead(name, str(error))
        else:
            spread = Repeats(tuple(seeds), tuple(accuracies)) if repeats > 1 else None
            yield replace(trained, repeats=spread)
