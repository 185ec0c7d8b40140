"""`duplicates.json`: the result of the last search, saved in the store that was searched."""

import logging
from pathlib import Path
from typing import Any

from pipeline.duplicates.equal_files import exact_duplicates
from pipeline.duplicates.pairs import Duplicates, make_pair
from pipeline.files.durable import read_json, write_json
from pipeline.store import FeatureStore
from pipeline.store.file_names import DUPLICATES

logger = logging.getLogger(__name__)
FORMAT = 1  # raised when the meaning of a field changes


def save_duplicates(store: FeatureStore, duplicates: Duplicates) -> Path:
    """Write `duplicates.json` into the store and return its path."""
    path = store.directory / DUPLICATES
    names = ("ids", "kind", "similarity", "pixels")
    document = {
        **_identity(store),
        "images": duplicates.images,
        "rows": duplicates.rows,
        "threshold": duplicates.threshold,
        "pairs": [{name: getattr(pair, name) for name in names} for pair in duplicates.pairs],
    }
    write_json(path, document)
    return path


def load_duplicates(store: FeatureStore) -> Duplicates | None:
    """Return the result of the last search; None if there is none, or if images or features have changed since.

    The file is not trusted: splits and labels come from the index, and a file that names an image
    which is not in the index is not used.
    """
    path = store.directory / DUPLICATES
    try:
        document = read_json(path)
        if any(document.get(key) != value for key, value in _identity(store).items()):
            return None
        row = {id: i for i, id in enumerate(store.images.ids)}
        pairs = []
        for pair in document["pairs"]:
            first, second = pair["ids"]
            if pair["kind"] not in ("exact", "near"):
                raise ValueError(f"kind {pair['kind']!r} is neither exact nor near")
            numbers = float(pair["similarity"]), None if pair["pixels"] is None else float(pair["pixels"])
            pairs.append(make_pair(store.images, (row[first], row[second]), pair["kind"], *numbers))
        return Duplicates(tuple(pairs), int(document["images"]), int(document["rows"]), float(document["threshold"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        logger.warning("%s cannot be used (%s); run `duplicates` again", path, error)
        return None


def known_duplicates(store: FeatureStore) -> Duplicates:
    """Return the result of the last search, or the exact duplicates if there is none that still holds."""
    return load_duplicates(store) or exact_duplicates(store.images)


def _identity(store: FeatureStore) -> dict[str, Any]:
    return {"format": FORMAT, "fingerprint": store.fingerprint, "index_sha256": store.manifest.index_sha256}
