"""Show what a store contains."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli import console
from pipeline.cli.console import say
from pipeline.cli.display.words import (
    describe_duplicates,
    describe_precision,
    print_classes,
    warn_of_heads,
    warn_of_random_weights,
)
from pipeline.text import counted, format_size

if TYPE_CHECKING:
    from pipeline.store import FeatureStore
    from pipeline.training.saved_heads import SavedHead


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `info`."""
    parser.add_argument("store", metavar="DIR", help="store filled by `features`")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON document")


def run(options: argparse.Namespace) -> int:
    """Describe a store."""
    from pipeline.store import open_features
    from pipeline.training.saved_heads import list_saved_heads

    store = open_features(options.store)
    heads = list_saved_heads(store)
    document = _describe(store, heads)
    if options.json:
        print(json.dumps(document, indent=1, sort_keys=True))
        return 0
    _show(document, store)
    warn_of_heads(heads, store.directory)
    return 0


def _describe(store: FeatureStore, heads: list[SavedHead]) -> dict[str, Any]:
    from pipeline.duplicates import known_duplicates
    from pipeline.images.table import SPLITS
    from pipeline.store import open_views

    counts = store.images.counts().tolist()
    return {
        "directory": str(store.directory),
        "images": len(store.images),
        "with_features": len(store.members()),
        "pending": store.pending,
        "bad": [{"id": image.id, "status": image.status.words, "reason": image.reason} for image in store.bad],
        "classes": {name: dict(zip(SPLITS, row, strict=True)) for name, row in zip(store.classes, counts, strict=True)},
        "feature_shape": list(store.feature_shape),
        "spec": dict(store.manifest.spec),
        "sources": dict(store.manifest.sources),
        "fingerprint": store.fingerprint,
        "precision_error": dict(store.manifest.precision_error),
        "random_weights": store.random_weights,
        "shards": len(store.manifest.shards),
        "bytes": sum(path.stat().st_size for path in Path(store.directory).rglob("*") if path.is_file()),
        "views": [
            {"view": view.manifest.spec["view"], "with_features": len(view.members()), "pending": view.pending}
            for view in open_views(store)
        ],
        "made_with": dict(store.manifest.made_with),
        "shards_of_other_numerics": sum(
            "numerics" in store.manifest.makers[shard.maker] for shard in store.manifest.shards
        ),
        "duplicates": known_duplicates(store).counts(),
        "heads": [{**head.metrics, "head": head.name, "problem": head.problem} for head in heads],
    }


def _show(document: dict[str, Any], store: FeatureStore) -> None:
    from pipeline.cli.display.leaderboard import print_leaderboard
    from pipeline.images.augment import View

    spec, views = document["spec"], document["views"]
    say(f"store       {store.directory}: {document['with_features']} of {document['images']} images have features")
    say(f"features    {store.feature_shape} {spec['store_dtype']}, {format_size(document['bytes'])} on disk")
    for directory in store.joined_directories:
        say(f"joined of   {directory}")
    for part in store.parts:
        size, sources = part.manifest.spec["size"], part.manifest.sources
        say(f"conv base   {sources['conv_base']} at {size[0]}x{size[1]}, {part.manifest.spec['precision']}")
        say(f"weights     {sources['weights']}, sha256 {part.manifest.spec['weights_sha256'][:12]}")
    if document["precision_error"]:
        say(f"precision   {describe_precision(spec['precision'], document['precision_error'])}")
    say(f"fingerprint {store.fingerprint[:12]}, {document['shards']} shards")
    if others := document["shards_of_other_numerics"]:
        say(f"numerics    {counted(others, 'shard')} made by machines that round differently from the others")
    say(f"duplicates  {describe_duplicates(document['duplicates'])}")
    if views:
        copies = counted(len(views), "augmented copy", "augmented copies")
        say(f"views       {copies} of each train image: {View.from_identity(views[0]['view']).augmentation}")
    if pending := document["pending"] + sum(view["pending"] for view in views):
        verb = "heads" if store.is_joined else "features"
        console.warn(f"{pending} images wait for features: run `{verb}` again")
    warn_of_random_weights(store)
    console.list_some("without features", [f"{image['id']}: {image['reason']}" for image in document["bad"]])
    print_classes(store.images)
    if document["heads"]:
        print_leaderboard("heads, on validation images", [head for head in document["heads"] if "accuracy" in head])
