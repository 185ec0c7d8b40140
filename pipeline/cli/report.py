"""`report`: what a person likes to look at."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pipeline.cli import console, display
from pipeline.report import write_report
from pipeline.report.feature_map import MAX
from pipeline.store import open_features
from pipeline.store.layout import REPORT
from pipeline.text import counted, format_duration, format_size
from pipeline.training.saved_heads import saved_heads


def run(options: argparse.Namespace) -> int:
    """One HTML page about a store and its heads."""
    start = time.monotonic()
    store = open_features(options.store)
    if store.random_weights:
        display.warn_random_weights()
    images = counted(min(MAX, len(store.members())), "image")
    console.say(f"{store.directory}: the map of {images} takes the most time, up to half a minute")
    if (store.heads_directory / "dense").is_dir():
        console.start_tensorflow_quietly()
    file = Path(options.out or store.directory / REPORT)
    with display.ConsoleCallbacks() as callbacks:
        write_report(store, file, head=options.head, callbacks=callbacks)
    display.warn_of_heads(saved_heads(store), store.directory)
    took = format_duration(time.monotonic() - start)
    console.say(f"wrote {file}, {format_size(file.stat().st_size)}, in {took}; open it in a browser")
    return 0
