"""`heads`: stage two."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.cli import console, display
from pipeline.duplicates import known_duplicates
from pipeline.errors import StoreError
from pipeline.heads import head_params
from pipeline.store import count_views, open_features
from pipeline.text import format_size
from pipeline.training.result import title_of
from pipeline.training.train import check_ready, memory_needed, train_heads


def run(options: argparse.Namespace) -> int:
    """Stage two."""
    store = open_features(options.store)
    check_ready(store, options.max_bad)
    params = _head_params(options)
    n, n_validation = len(store.members("train")), len(store.members("validation"))
    n_views = options.views or count_views(store.directory)
    memory = memory_needed(store, options.heads, params, n_views)
    in_views = f" (in {n_views} views)" if n_views > 1 else ""
    console.say(
        f"{store.directory}: {n} train{in_views} and {n_validation} validation images, features {store.feature_shape} "
        f"{store.dtype}, about {format_size(memory)} of memory for the heads"
    )
    if store.random_weights:
        display.warn_random_weights()
    if "dense" in options.heads:
        console.start_tensorflow_quietly()
    with display.ConsoleCallbacks() as callbacks:
        trained = train_heads(
            store,
            options.heads,
            params=params,
            max_bad=options.max_bad,
            repeats=options.repeats,
            views=n_views,
            callbacks=callbacks,
        )
    with_views = f", {n_views} views of each train image" if n_views > 1 else ""
    title = title_of(f"{n_validation} validation images", store) + with_views
    console.out().print(display.leaderboard(title, [one.metrics() for one in trained]))
    display.warn_of_leaks(known_duplicates(store), store.directory)
    console.say(f"saved in {store.heads_directory}")
    console.say(f"a page to look at: `python -m pipeline report {store.directory}`")
    return 0


def _head_params(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    params: dict[str, dict[str, Any]] = {name: {} for name in options.heads}
    if "dense" in params:
        params["dense"] = {
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "units": options.units,
            "dropout": options.dropout,
            "learning_rate": options.learning_rate,
            "patience": options.early_stopping,
        }
    for name in options.heads if options.balanced else ():
        if "class_weight" in head_params(name):
            params[name]["class_weight"] = "balanced"
        else:
            console.warn(f"{name} takes no class weights; it is trained without")
    for head, key, value in options.settings:
        if head not in params:
            raise StoreError(f"--set {head}.{key}: '{head}' is not among --heads {','.join(options.heads)}")
        params[head][key] = value
    return params
