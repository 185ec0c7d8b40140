"""`finetune`: the layers above the cut and a head, trained together."""

from __future__ import annotations

import argparse
import sys

from pipeline.cli import console, display
from pipeline.finetune import check_cut, finetune_head
from pipeline.store import open_features
from pipeline.training.result import title_of
from pipeline.training.train import check_ready


def run(options: argparse.Namespace) -> int:
    """The layers above the cut and a head, trained together."""
    store = open_features(options.store)
    check_cut(store)
    check_ready(store, options.max_bad)
    if store.random_weights:
        display.warn_random_weights()
    print(f"loading {store.spec.conv_base} ...", file=sys.stderr, flush=True)
    console.start_tensorflow_quietly()
    class_weight = "balanced" if options.balanced else None
    with display.ConsoleCallbacks() as callbacks:
        result = finetune_head(
            store,
            params={
                "learning_rate": options.learning_rate,
                "epochs": options.epochs,
                "batch_size": options.batch_size,
                "patience": options.patience,
                "class_weight": class_weight,
            },
            dense={
                "units": options.units,
                "dropout": options.dropout,
                "epochs": options.head_epochs,
                "learning_rate": options.head_learning_rate,
                "batch_size": options.batch_size,
                "class_weight": class_weight,
            },
            max_bad=options.max_bad,
            views=options.views,
            callbacks=callbacks,
        )
    if (epochs := len(result.head.history_["loss"])) < options.epochs:
        console.say(f"stopped after epoch {epochs}: {options.patience} epochs without a lower validation loss")
    if not result.kept_epoch:
        console.warn("no epoch had a lower validation loss than none: the head that is kept is the one before tuning")
    title = title_of(f"{result.evaluation.n} validation images", store)
    before = {**result.metrics(), **result.frozen, "head": "before tuning", "test": None}
    console.out().print(display.leaderboard(title, [result.metrics(), before]))
    console.say(
        f"{result.seconds_per_epoch:.1f} s an epoch; the weights after epoch {result.kept_epoch} are saved in "
        f"{store.heads_directory / result.name}"
    )
    return 0
