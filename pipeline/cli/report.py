"""Write one HTML page about a store and its heads."""

import argparse
import time
from pathlib import Path

from pipeline.cli import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `report`."""
    parser.add_argument("store", metavar="DIR", help="store filled by `features`")
    parser.add_argument("--out", metavar="FILE.html", help="replaced if it exists (default: DIR/report.html)")
    parser.add_argument("--head", metavar="NAME", help="head to show in detail (default: the most accurate one)")


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.cli.display.words import warn_of_heads, warn_of_random_weights
    from pipeline.report import write_report
    from pipeline.report.feature_map import MAX_IMAGES
    from pipeline.store import open_features
    from pipeline.store.file_names import REPORT
    from pipeline.text import counted, format_duration, format_size
    from pipeline.training.saved_heads import list_saved_heads

    start = time.monotonic()
    store = open_features(options.store)
    warn_of_random_weights(store)
    images = counted(min(MAX_IMAGES, len(store.members())), "image")
    console.say(f"{store.directory}: the map of {images} takes most of the time, up to half a minute")
    if (store.heads_directory / "dense").is_dir():
        console.start_tensorflow_quietly()
    file = Path(options.out or store.directory / REPORT)
    with ConsoleCallbacks() as callbacks:
        write_report(store, file, head=options.head, callbacks=callbacks)
    warn_of_heads(list_saved_heads(store), store.directory)
    took = format_duration(time.monotonic() - start)
    console.say(f"wrote {file}, {format_size(file.stat().st_size)}, in {took}; open it in a browser")
    return 0
