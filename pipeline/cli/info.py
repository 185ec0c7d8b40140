"""`info`: what a store holds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pipeline.cli import display
from pipeline.duplicates import known_duplicates
from pipeline.images.table import SPLITS
from pipeline.store import FeatureStore, open_features, open_views
from pipeline.training.saved_heads import SavedHead, saved_heads


def run(options: argparse.Namespace) -> int:
    """What a store holds."""
    store = open_features(options.store)
    heads = saved_heads(store)
    document = _describe(store, heads)
    if options.json:
        json.dump(document, sys.stdout, indent=1, sort_keys=True)
        print()
        return 0
    display.show_info(document)
    display.warn_of_heads(heads, store.directory)
    return 0


def _describe(store: FeatureStore, heads: list[SavedHead]) -> dict[str, Any]:
    counts = store.images.counts()
    files = [path for path in Path(store.directory).rglob("*") if path.is_file()]
    return {
        "directory": str(store.directory),
        "images": len(store.images),
        "with_features": len(store.members()),
        "pending": store.pending,
        "bad": [{"id": one.id, "status": one.status.words, "reason": one.reason} for one in store.bad],
        "classes": {
            name: dict(zip(SPLITS, row.tolist(), strict=True)) for name, row in zip(store.classes, counts, strict=True)
        },
        "feature_shape": list(store.feature_shape),
        "spec": dict(store.manifest.spec),
        "sources": dict(store.manifest.sources),
        "fingerprint": store.fingerprint,
        "precision_error": dict(store.manifest.precision_error),
        "random_weights": store.random_weights,
        "shards": len(store.manifest.shards),
        "bytes": sum(path.stat().st_size for path in files),
        "views": [
            {"view": view.manifest.spec["view"], "with_features": len(view.members()), "pending": view.pending}
            for view in open_views(store)
        ],
        "made_with": dict(store.manifest.made_with),
        "duplicates": known_duplicates(store).counts(),
        "heads": [{**head.metrics, "head": head.name, "problem": head.problem} for head in heads],
    }
