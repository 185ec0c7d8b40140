"""Estimate the memory that training takes, and check it before features are read."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import HeadError
from pipeline.heads.memory import available_memory, pooled_bytes
from pipeline.store import FeatureStore, count_views
from pipeline.training.make_heads import Params, make_heads

MAX_READ_BYTES = 2**29  # features that the dense head holds while it reads them from disk


def memory_needed(
    store: FeatureStore, heads: Sequence[str] | None = None, params: Params | None = None, views: int | None = None
) -> int:
    """Estimate the peak memory that `train_heads` takes for features, in bytes; the parameters are its own."""
    return _bytes_needed(store, make_heads(heads, params), count_views(store.directory) if views is None else views)


def check_memory(store: FeatureStore, heads: Mapping[str, Any], views: int) -> None:
    """Raise HeadError if the features of `heads`, made by `make_heads`, do not fit into the free memory."""
    pools = ", ".join(f"{name} with pool={head.pool}" for name, head in heads.items() if name != "dense")
    needed, free = _bytes_needed(store, heads, views), available_memory()
    if pools and free is not None and needed > free:
        raise HeadError(
            f"{store.directory}: {pools} need {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; "
            "take pool=avg instead of flatten, fewer heads or views at a time, or dense alone, which reads from disk"
        )


def fits_in_memory(store: FeatureStore, views: int) -> bool:
    """Return whether all features, as stored, take no more than half of the free memory."""
    free = available_memory()
    return free is None or _count_rows(store, views) * store.bytes_per_row <= free / 2


def _bytes_needed(store: FeatureStore, heads: Mapping[str, Any], views: int) -> int:
    train, rows = views * len(store.members("train")), _count_rows(store, views)
    pooling = [head for name, head in heads.items() if name != "dense"]
    raw = rows * store.bytes_per_row if "dense" in heads else 0
    if not fits_in_memory(store, views):
        raw = min(raw, MAX_READ_BYTES)
    return raw + pooled_bytes(pooling, train, rows - train, store.feature_shape)


def _count_rows(store: FeatureStore, views: int) -> int:
    return len(store.members()) + (views - 1) * len(store.members("train"))
