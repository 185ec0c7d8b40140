"""`duplicates.json`: the result of the last search, kept in the store it is about."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from pipeline.duplicates.exact import exact_duplicates, in_order, make_pair
from pipeline.duplicates.pairs import Duplicates, Pair
from pipeline.files.durable import read_json, write_json
from pipeline.store import FeatureStore
from pipeline.store.layout import DUPLICATES

logger = logging.getLogger(__name__)
FORMAT = 1  # raised when its fields come to mean something else


def keep_duplicates(store: FeatureStore, found: Duplicates) -> Path:
    """Write `duplicates.json` into the store; returns its path.

    Raises
    ------
    OSError
        The store is read-only, or the disk is full.
    """
    path = store.directory / DUPLICATES
    write_json(
        path,
        {
            **_identity(store),
            "images": found.images,
            "rows": found.rows,
            "threshold": found.threshold,
            "pairs": [_as_json(pair) for pair in found.pairs],
        },
    )
    return path


def kept_duplicates(store: FeatureStore) -> Duplicates | None:
    """The last search's result; None if there is none, or if images or features have changed since.

    The file may be a stranger's: splits and labels come from the index, and an id that is not in it
    makes the file worthless.
    """
    path = store.directory / DUPLICATES
    try:
        document = read_json(path)
        if any(document.get(key) != value for key, value in _identity(store).items()):
            return None
        number = {id: at for at, id in enumerate(store.images.ids)}
        pairs = [_from_json(store, number, one) for one in document["pairs"]]
        return Duplicates(
            in_order(pairs), int(document["images"]), int(document["rows"]), _number(document["threshold"])
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        logger.warning("%s is of no use (%s); run `duplicates` again", path, error)
        return None


def known_duplicates(store: FeatureStore) -> Duplicates:
    """What is known without a search: the last one's result, or else the exact ones."""
    return kept_duplicates(store) or exact_duplicates(store.images)


def _identity(store: FeatureStore) -> dict[str, Any]:
    return {"format": FORMAT, "fingerprint": store.fingerprint, "index_sha256": store.manifest.index_sha256}


def _as_json(pair: Pair) -> dict[str, Any]:
    return {name: value for name, value in pair._asdict().items() if name not in ("splits", "labels")}


def _from_json(store: FeatureStore, number: dict[str, int], document: dict[str, Any]) -> Pair:
    first, second = document["ids"]
    if document["kind"] not in ("exact", "near"):
        raise ValueError(f"kind {document['kind']!r} is neither exact nor near")
    pixels = None if document["pixels"] is None else _number(document["pixels"])
    similarity = _number(document["similarity"])
    return make_pair(
        store.images, number[first], number[second], kind=document["kind"], similarity=similarity, pixels=pixels
    )


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    return number
