"""Find images that show the same picture; exit status 1 if a pair lies across splits or under two labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import defaults
from pipeline.cli import console
from pipeline.cli.display.words import describe_duplicates
from pipeline.cli.option_types import FRACTION
from pipeline.cli.shared_options import add_engine_option, open_engine
from pipeline.errors import PipelineError
from pipeline.text import counted, format_duration, format_size

if TYPE_CHECKING:
    from pipeline.duplicates import Duplicates

MAX_PAIRS_SHOWN = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `duplicates`."""
    parser.add_argument("store", metavar="DIR", help="store filled by `features`; its features and labels stay as is")
    parser.add_argument("--csv", metavar="FILE.csv", help="write all pairs; replaced if it exists")
    text = "write all images, each group of duplicates in one split, as IMAGES for `features`; must not exist"
    parser.add_argument("--groups", metavar="FILE.csv", help=text)
    text = "smallest cosine similarity of features for which two pictures are compared; a lower one takes longer"
    parser.add_argument("--threshold", **FRACTION, default=defaults.THRESHOLD, help=text)
    add_engine_option(parser)


def run(options: argparse.Namespace) -> int:
    """Find duplicates; return 1 if a pair lies across splits or under two labels."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.duplicates import find_duplicates, save_duplicates, write_groups, write_pairs
    from pipeline.duplicates.similar_features import seconds_to_compare
    from pipeline.store import open_features, view_numbers

    store = open_features(options.store)
    _check_outputs(options.csv, options.groups)  # now rather than after minutes of comparing
    n = len(store.members())
    duration = "" if options.on else f", about {format_duration(seconds_to_compare(n, store.feature_shape[-1]))}"
    console.say(
        f"{store.directory}: {n} images, {format_size(n * store.bytes_per_row)} of features to read, "
        f"then all pairs to compare{duration}"
    )
    if store.pending:
        console.warn(f"{store.pending} images have no features yet and are compared by their bytes only")
    with ConsoleCallbacks() as callbacks, open_engine(options) as cluster:
        duplicates = find_duplicates(store, threshold=options.threshold, callbacks=callbacks, cluster=cluster)
    try:
        save_duplicates(store, duplicates)
    except OSError as error:  # the store may be read-only; the result is shown all the same
        console.warn(f"the result is not stored for `info` and `heads`: {error}")
    _show(duplicates)
    if options.csv:
        write_pairs(duplicates, options.csv)
        console.say(f"all pairs are in {options.csv}")
    if options.groups:
        moved = write_groups(store, duplicates, options.groups)
        has_copies = moved and view_numbers(store.directory)
        to_compute = "only augmented copies of images that are new in train" if has_copies else "nothing"
        console.say(
            f"{options.groups} has each group in one split, {counted(moved, 'image')} moved: give it to `features` as "
            f"IMAGES, with --cache {store.directory} and the store's own options, which computes {to_compute}"
        )
    return 1 if duplicates.across_splits or duplicates.two_labels else 0


def _check_outputs(csv: str | None, groups: str | None) -> None:
    from pipeline.duplicates.csv_files import PAIRS_START
    from pipeline.files.durable import is_replaceable

    if csv and groups and Path(csv).resolve() == Path(groups).resolve():
        raise PipelineError(f"--csv and --groups are both {csv}; give each a name of its own")
    for file in map(Path, filter(None, (csv, groups))):
        if not file.absolute().parent.is_dir():
            raise PipelineError(f"{file} cannot be written: there is no folder {file.parent}; make it first")
    if csv and not is_replaceable(Path(csv), PAIRS_START):
        raise PipelineError(f"{csv} exists and is no list of pairs; give another name, or remove it")
    if groups and Path(groups).exists():  # it may contain labels that were corrected by hand
        raise PipelineError(f"{groups} exists already; give another name, or remove it")


def _show(duplicates: Duplicates) -> None:
    pairs = duplicates.pairs
    rows = []
    for pair in pairs[:MAX_PAIRS_SHOWN]:
        splits, labels = (" | ".join(dict.fromkeys(values)) for values in (pair.splits, pair.labels))
        rows.append([pair.kind, f"{pair.similarity:.3f}", splits, labels, "  ".join(pair.ids)])
    if rows:
        console.print_table(["kind", "similarity", "splits", "labels", "images"], rows)
    if len(pairs) > len(rows):
        console.say(f"... and {len(pairs) - len(rows)} more; --csv FILE.csv writes all")
    console.say(f"found {describe_duplicates(duplicates.counts())}")
    if duplicates.two_labels:
        console.say("where a picture has two labels, one is wrong or the picture shows both classes: please decide")
