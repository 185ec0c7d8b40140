"""Train the layers above a store's cut together with a head."""

import argparse

from pipeline import defaults
from pipeline.cli import console
from pipeline.cli.option_types import COUNT, NUMBER, PATIENCE
from pipeline.cli.shared_options import add_dense_options, add_max_bad, add_training_options, select_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `finetune`."""
    parser.add_argument("store", metavar="DIR", help="store filled by `features --cut top1`")
    parser.add_argument("--epochs", **COUNT, default=defaults.TUNING_EPOCHS, help="largest number of epochs")
    parser.add_argument("--learning-rate", **NUMBER, default=defaults.TUNING_RATE, help="learning rate of Adam")
    parser.add_argument("--patience", **PATIENCE, default=defaults.TUNING_PATIENCE)
    add_training_options(parser)
    add_max_bad(parser)
    text = "views of each train image, of which each epoch draws one (default: all views of the store)"
    parser.add_argument("--views", **COUNT, help=text)
    add_dense_options(parser.add_argument_group("dense head, trained first on frozen features"), prefix="head-")


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
    params = {**select_options(options, "learning_rate", "epochs", "patience"), **shared}
    dense = {**select_options(options, "units", "dropout"), **shared}
    dense |= {"epochs": options.head_epochs, "learning_rate": options.head_learning_rate}
    with ConsoleCallbacks() as callbacks:
        callbacks.conv_base_loading(store.conv_base_spec)
        limits = select_options(options, "max_bad", "views")
        result = finetune_head(store, params=params, dense=dense, callbacks=callbacks, **limits)
    if (epochs := len(result.head.history_["loss"])) < options.epochs:
        console.say(f"stopped after epoch {epochs}: {options.patience} epochs without a lower loss")
    if not result.kept_epoch:
        console.warn("no epoch lowered the loss: the head before tuning is saved")
    title = format_title(f"{result.evaluation.n} validation images", store)
    before = {**result.metrics(), **result.frozen, "head": "before tuning", "test": None}
    print_leaderboard(title, [result.metrics(), before])
    console.say(
        f"{result.seconds_per_epoch:.1f} s per epoch; the weights after epoch {result.kept_epoch} are saved in "
        f"{store.heads_directory / result.name}"
    )
    return 0
