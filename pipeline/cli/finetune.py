"""Train the layers above a store's cut together with a head."""

from __future__ import annotations

import argparse

from pipeline import defaults
from pipeline.cli import console
from pipeline.cli.option_types import count
from pipeline.cli.options import add_hidden_layers, add_max_bad


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `finetune`."""
    parser.add_argument("store", metavar="DIR", help="store filled by `features --cut top1`")
    parser.add_argument("--epochs", type=count, default=defaults.TUNING_EPOCHS, metavar="N", help="largest number")
    parser.add_argument(
        "--learning-rate", type=float, default=defaults.TUNING_RATE, metavar="F", help="learning rate of Adam"
    )
    parser.add_argument(
        "--patience",
        type=count,
        default=defaults.TUNING_PATIENCE,
        metavar="N",
        help="stop after N epochs without a lower validation loss, in both steps; the best weights are saved",
    )
    parser.add_argument("--batch-size", type=count, default=defaults.HEAD_BATCH, metavar="N", help="images per step")
    parser.add_argument("--balanced", action="store_true", help="weight classes inversely to their frequency")
    add_max_bad(parser)
    parser.add_argument(
        "--views",
        type=count,
        metavar="N",
        help="views of each train image, of which each epoch draws one (default: all views of the store)",
    )
    head = parser.add_argument_group("dense head, trained first on frozen features")
    head.add_argument("--head-epochs", type=count, default=defaults.EPOCHS, metavar="N", help="number of epochs")
    head.add_argument(
        "--head-learning-rate", type=float, default=defaults.LEARNING_RATE, metavar="F", help="learning rate of Adam"
    )
    add_hidden_layers(head)


def run(options: argparse.Namespace) -> int:
    """Fine-tune and show the scores before and after."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.cli.display.leaderboard import print_leaderboard
    from pipeline.cli.display.words import warn_of_random_weights
    from pipeline.finetune import check_cut, finetune_head
    from pipeline.store import open_features
    from pipeline.training.train_heads import check_ready
    from pipeline.training.trained_head import format_title

    store = open_features(options.store)
    check_cut(store)
    check_ready(store, options.max_bad)
    warn_of_random_weights(store)
    shared = {"batch_size": options.batch_size, "class_weight": "balanced" if options.balanced else None}
    with ConsoleCallbacks() as callbacks:
        callbacks.conv_base_loading(store.spec)
        result = finetune_head(
            store,
            params={
                "learning_rate": options.learning_rate,
                "epochs": options.epochs,
                "patience": options.patience,
                **shared,
            },
            dense={
                "units": options.units,
                "dropout": options.dropout,
                "epochs": options.head_epochs,
                "learning_rate": options.head_learning_rate,
                **shared,
            },
            max_bad=options.max_bad,
            views=options.views,
            callbacks=callbacks,
        )
    if (epochs := len(result.head.history_["loss"])) < options.epochs:
        console.say(f"stopped after epoch {epochs}: {options.patience} epochs without a lower validation loss")
    if not result.kept_epoch:
        console.warn("no epoch lowered the validation loss: the head before tuning is saved")
    title = format_title(f"{result.evaluation.n} validation images", store)
    before = {**result.metrics(), **result.frozen, "head": "before tuning", "test": None}
    print_leaderboard(title, [result.metrics(), before])
    console.say(
        f"{result.seconds_per_epoch:.1f} s per epoch; the weights after epoch {result.kept_epoch} are saved in "
        f"{store.heads_directory / result.name}"
    )
    return 0
