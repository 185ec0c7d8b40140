"""Stage two: train heads on a store, score and save them, and print a leaderboard."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pipeline.cli import console
from pipeline.cli.option_types import COUNT, PATIENCE, SETTINGS, head_key_value, names
from pipeline.cli.shared_options import (
    add_dense_options,
    add_engine_option,
    add_max_bad,
    add_training_options,
    open_engine,
    select_options,
)
from pipeline.text import COMMAND

if TYPE_CHECKING:
    from pipeline.store import FeatureStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `heads`."""
    from pipeline.heads import head_names

    names_of_all = ",".join(head_names())
    parser.add_argument(
        "store", metavar="DIR", help="store filled by `features`, or A+B to join stores of the same images"
    )
    parser.add_argument("--heads", type=names, default=names_of_all, metavar="NAME,NAME", help="heads to train")
    text = "parameter of one head, such as logistic.C=0.1; can be repeated"
    parser.add_argument("--set", **SETTINGS | {"type": head_key_value, "metavar": "HEAD.KEY=VALUE"}, help=text)
    add_max_bad(parser)
    text = "train each head with N seeds and show the spread of the accuracies; the head of the first seed is saved"
    parser.add_argument("--repeats", **COUNT, default=1, help=text)
    text = "views of each train image to train on, 1 for the images alone (default: all views of the store)"
    parser.add_argument("--views", **COUNT, help=text)
    add_training_options(parser)
    dense = parser.add_argument_group("dense head")
    add_dense_options(dense)
    dense.add_argument("--early-stopping", **PATIENCE)
    add_engine_option(parser)


def run(options: argparse.Namespace) -> int:
    """Train heads and show their scores."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.cli.display.leaderboard import print_leaderboard
    from pipeline.cli.display.words import warn_of_leaks, warn_of_random_weights
    from pipeline.joined.find_stores import open_joined
    from pipeline.store import count_views
    from pipeline.text import format_size
    from pipeline.training.memory import memory_needed
    from pipeline.training.on_cluster import MIN_CLUSTER_ROWS
    from pipeline.training.train_heads import check_ready, train_heads
    from pipeline.training.trained_head import format_title

    with ConsoleCallbacks() as callbacks:
        store = open_joined(options.store, callbacks)
    if store.is_joined:
        _describe_joined(store)
    check_ready(store, options.max_bad)
    params = _head_params(options)
    n_train, n_validation = len(store.members("train")), len(store.members("validation"))
    n_views = options.views or count_views(store.directory)
    memory = memory_needed(store, options.heads, params, n_views)
    in_views = f" (in {n_views} views)" if n_views > 1 else ""
    console.say(
        f"{store.directory}: {n_train} train{in_views} and {n_validation} validation images, features "
        f"{store.feature_shape} {store.dtype}, about {format_size(memory)} of memory for the heads"
    )
    warn_of_random_weights(store)
    if "dense" in options.heads:
        console.start_tensorflow_quietly()
    n_rows = n_views * n_train + n_validation
    if options.on and n_rows < MIN_CLUSTER_ROWS:
        console.note(f"--on is not worth it for {n_rows:,} rows: below {MIN_CLUSTER_ROWS:,} one process is as fast")
    with ConsoleCallbacks() as callbacks, open_engine(options) as cluster:
        settings = select_options(options, "max_bad", "repeats") | {"cluster": cluster}
        trained = train_heads(store, options.heads, params=params, views=n_views, callbacks=callbacks, **settings)
    with_views = f", {n_views} views of each train image" if n_views > 1 else ""
    title = format_title(f"{n_validation} validation images", store) + with_views
    print_leaderboard(title, [head.metrics() for head in trained])
    warn_of_leaks(store)
    console.say(f"saved in {store.heads_directory}")
    console.say(f"a page to look at: `{COMMAND} report {store.directory}`")
    if failed := set(options.heads) - {head.name for head in trained}:
        console.warn(f"not trained: {', '.join(sorted(failed))}; the reasons stand above")
    return 1 if failed else 0


def _describe_joined(store: FeatureStore) -> None:
    from pipeline.store import count_views

    parts = store.joined_directories
    console.say(f"joined     {store.directory} of {' and '.join(map(str, parts))}, {store.spec.name}")
    for part in parts:
        if not part.is_dir():
            console.note(f"{part} is gone: {store.directory} is taken as it is")
        elif count_views(part) > 1:
            console.note(f"the augmented views of {part} are not joined: heads are trained on the images alone")


def _head_params(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    from pipeline.errors import StoreError
    from pipeline.heads import head_params

    params: dict[str, dict[str, Any]] = {name: {} for name in options.heads}
    if "dense" in params:
        params["dense"] = select_options(options, "epochs", "batch_size", "units", "dropout", "learning_rate")
        params["dense"]["patience"] = options.early_stopping
    for name in options.heads if options.balanced else ():
        if "class_weight" in head_params(name):
            params[name]["class_weight"] = "balanced"
        else:
            console.warn(f"{name} takes no class weights; it is trained without them")
    for head, key, value in options.set:
        if head not in params:
            raise StoreError(f"--set {head}.{key}: '{head}' is not among --heads {','.join(options.heads)}")
        params[head][key] = value
    return params
