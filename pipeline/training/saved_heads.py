"""List the heads saved below a store, without loading them, and tell which are stale: scored on other images."""

from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import HeadError
from pipeline.files.durable import read_json, sha256_of
from pipeline.heads.load_head import METRICS, RECORD, read_metrics
from pipeline.store import FeatureStore
from pipeline.text import COMMAND
from pipeline.training.trained_head import TrainedHead

OTHER_CLASSES = "trained on other classes than the store has now"
OTHER_IMAGES = "scored on other images, labels or splits than the store holds now"


class SavedHead(NamedTuple):
    """A head saved below a store."""

    name: str  # of its directory
    trained: TrainedHead | None  # its scores; None if it is of other features or classes, or its files are damaged
    metrics: dict[str, Any]  # the content of `metrics.json`; empty where `trained` is None
    problem: str | None = None  # why it cannot be compared with the others: it is stale, for example


def list_saved_heads(store: FeatureStore) -> list[SavedHead]:
    """Return all heads of a store, the best first; heads with a problem come later, heads without scores last."""
    sha256 = hash_data(store)
    names = [path.parent.name for path in store.heads_directory.glob(f"*/{RECORD}")]
    return sorted((_read_saved_head(name, store, sha256) for name in names), key=_rank)


def _rank(head: SavedHead) -> tuple[Any, ...]:
    if head.trained is None:
        return True, True, head.name
    return head.problem is not None, False, *head.trained.rank()


def advise_training(store: FeatureStore) -> str:
    """Return the advice of an error about a missing or stale head."""
    return f"train it with `{COMMAND} heads {store.directory}`"


def hash_data(store: FeatureStore) -> str:
    """Return the sha256 of what heads are trained and scored on: images with features, their labels and splits.

    The order and the names of the images do not change it.
    """
    images, members = store.images, store.members()
    labels, splits = images.labels[members, None], images.split_codes[members, None]
    rows = np.hstack([images.contents[members], labels.view(np.uint8), splits.view(np.uint8)])
    return sha256_of(np.sort(rows.view(f"S{rows.shape[1]}"), axis=0).tobytes() + repr(store.classes).encode())


def _read_saved_head(name: str, store: FeatureStore, sha256: str) -> SavedHead:
    directory = store.heads_directory / name
    try:
        metrics = read_metrics(directory)
        if read_json(directory / RECORD).get("fingerprint") != store.fingerprint:
            raise HeadError("trained on other features than the store holds now")
        if metrics is None:
            raise HeadError("saved without scores")
        if metrics.get("classes") != list(store.classes):
            raise HeadError(OTHER_CLASSES)
        trained = TrainedHead.from_metrics(name, metrics)
    except HeadError as error:
        return SavedHead(name, None, {}, str(error))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        return SavedHead(name, None, {}, f"its {METRICS} is not as this version writes it ({error!r})")
    return SavedHead(name, trained, metrics, None if metrics.get("data_sha256") == sha256 else OTHER_IMAGES)
