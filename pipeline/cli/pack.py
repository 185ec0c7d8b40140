"""Write all features of a store, without its augmented views, into one HDF5 file."""

import argparse
from pathlib import Path

from pipeline.cli import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pack`."""
    parser.add_argument("store", metavar="DIR", help="store filled by `features`")
    parser.add_argument("file", metavar="FILE.h5", help="replaced if it exists")


def run(options: argparse.Namespace) -> int:
    """Pack a store."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.cli.display.words import warn_of_random_weights
    from pipeline.maintenance.pack import pack_store
    from pipeline.store import open_features
    from pipeline.text import format_size

    store = open_features(options.store)
    warn_of_random_weights(store)
    with ConsoleCallbacks() as callbacks:
        packed = pack_store(options.store, options.file, callbacks=callbacks)
    size = format_size(Path(options.file).stat().st_size)
    console.say(f"packed {packed} of {len(store.images)} images into {options.file}, {size}")
    return 0
