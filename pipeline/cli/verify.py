"""`verify`: look for what is wrong with a store."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli import console, display
from pipeline.export.verify import check_record, verify_model
from pipeline.maintenance.verify import head_directories, verify_store
from pipeline.store import FeatureStore, open_features, view_numbers
from pipeline.text import counted
from pipeline.training.saved_heads import saved_heads


def run(options: argparse.Namespace) -> int:
    """Look for what is wrong with a store."""
    store = open_features(options.store)
    if options.model is not None:
        check_record(store, Path(options.model))  # before every byte is read
    if options.recompute:
        console.start_tensorflow_quietly()
    with display.ConsoleCallbacks() as callbacks:
        findings = verify_store(
            options.store,
            full=options.full,
            recompute=options.recompute,
            sources=options.sources,
            callbacks=callbacks,
        )
    counts = {
        "shard": len(store.manifest.shards),
        "row": sum(entry.stop - entry.start for entry in store.manifest.shards),
        "head": len(head_directories(store)),
        "view": len(view_numbers(store.directory)),
    }
    depth = "" if options.full else "names, sizes and fingerprints of "
    looked_at = f"checked {depth}{', '.join(counted(n, noun) for noun, n in counts.items() if n or noun != 'view')}"
    status = display.show_findings(looked_at, findings, store.directory)
    display.warn_of_heads(saved_heads(store), store.directory)
    return status if options.model is None else max(status, _verify_model(store, options.model, options.images))


def _verify_model(store: FeatureStore, file: str, images: int) -> int:
    console.start_tensorflow_quietly()
    with display.ConsoleCallbacks() as callbacks:
        agreement = verify_model(store, file, images=images, callbacks=callbacks)
    return display.show_agreement(file, agreement, store.spec.precision)
