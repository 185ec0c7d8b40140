"""`pack`: one file to hand on."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli import console, display
from pipeline.maintenance.pack import pack_store
from pipeline.store import open_features
from pipeline.text import format_size


def run(options: argparse.Namespace) -> int:
    """One file to hand on."""
    store = open_features(options.store)
    if store.random_weights:
        display.warn_random_weights()
    with display.ConsoleCallbacks() as callbacks:
        packed = pack_store(options.store, options.file, callbacks=callbacks)
    size = format_size(Path(options.file).stat().st_size)
    console.say(f"packed {packed} of {len(store.images)} images into {options.file}, {size}")
    return 0
