"""`duplicates`: one picture twice, across splits or under two labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.table import Table
from rich.text import Text

from pipeline.cli import console, display
from pipeline.duplicates import Duplicates, find_duplicates, keep_duplicates, write_groups, write_pairs
from pipeline.duplicates.groups import PAIRS_START
from pipeline.duplicates.neighbours import seconds_to_compare
from pipeline.errors import PipelineError
from pipeline.files.durable import is_replaceable
from pipeline.store import FeatureStore, open_features, view_numbers
from pipeline.text import counted, format_duration, format_size, printable

MAX_SHOWN = 50  # pairs; a CSV file has all


def run(options: argparse.Namespace) -> int:
    """One picture twice; 1 if any lies across splits or under two labels."""
    store = open_features(options.store)
    for file in map(Path, filter(None, (options.csv, options.groups))):  # said now, not after minutes of comparing
        if not file.absolute().parent.is_dir():
            raise PipelineError(f"{file} cannot be written: there is no folder {file.parent}; make it first")
    if options.csv and not is_replaceable(Path(options.csv), PAIRS_START):
        raise PipelineError(f"{options.csv} exists and is no list of pairs; give another name, or remove it")
    if options.groups and Path(options.groups).exists():  # it may hold labels that somebody mended by hand
        raise PipelineError(f"{options.groups} exists already; give another name, or remove it")
    _announce(store)
    with display.ConsoleCallbacks() as callbacks:
        found = find_duplicates(store, threshold=options.threshold, callbacks=callbacks)
    _keep(store, found)
    _show(found)
    if options.csv:
        write_pairs(found, options.csv)
        console.say(f"all pairs are in {options.csv}")
    if options.groups:
        moved = write_groups(store, found, options.groups)
        copies = moved and view_numbers(store.directory)
        to_compute = "no more than copies of images that came into train" if copies else "nothing"
        console.say(
            f"{options.groups} has each group in one split, {counted(moved, 'image')} moved: give it to "
            f"`features` as IMAGES, with --cache {store.directory} and the store's own options, which computes "
            f"{to_compute}"
        )
    return 1 if found.across_splits or found.two_labels else 0


def _announce(store: FeatureStore) -> None:
    n = len(store.members())
    seconds = seconds_to_compare(n, store.feature_shape[-1])
    console.say(
        f"{store.directory}: {n} images, {format_size(n * store.bytes_per_row)} of features to read, "
        f"then about {format_duration(seconds)} to compare each with each"
    )
    if store.pending:
        console.warn(f"{store.pending} images have no features yet and are compared by their bytes only")


def _keep(store: FeatureStore, found: Duplicates) -> None:
    try:
        keep_duplicates(store, found)
    except OSError as error:  # the result is on the screen; a read-only store is no reason to lose it
        console.warn(f"not kept for `info` and `heads`: {error}")


def _show(found: Duplicates) -> None:
    if found.pairs:
        table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="")
        for name in ("kind", "similarity", "splits", "labels", "images"):
            table.add_column(name)
        for pair in found.pairs[:MAX_SHOWN]:
            splits, labels = (" | ".join(dict.fromkeys(both)) for both in (pair.splits, pair.labels))
            cells = (pair.kind, f"{pair.similarity:.3f}", splits, labels, "  ".join(pair.ids))
            table.add_row(*(Text(printable(cell)) for cell in cells))
        console.out().print(table)
    if len(found.pairs) > MAX_SHOWN:
        console.say(f"... and {len(found.pairs) - MAX_SHOWN} more; --csv FILE.csv writes all")
    console.say(f"found {display.duplicates_words(found.counts())}")
    if found.two_labels:
        console.say("one of two labels is wrong, or the picture shows both: that is for you to decide")
