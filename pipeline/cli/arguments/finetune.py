"""Options of `finetune`."""

from __future__ import annotations

import argparse

from pipeline import defaults
from pipeline.cli.arguments.option_types import count
from pipeline.cli.arguments.stage_two import hidden_layers, max_bad


def finetune(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features --cut top1` filled")
    verb.add_argument("--epochs", type=count, default=defaults.TUNING_EPOCHS, metavar="N", help="passes, at most")
    verb.add_argument("--learning-rate", type=float, default=defaults.TUNING_RATE, metavar="F", help="of Adam")
    verb.add_argument(
        "--patience",
        type=count,
        default=defaults.TUNING_PATIENCE,
        metavar="N",
        help="stop after N epochs without a better validation loss, in either step; the best weights are kept",
    )
    verb.add_argument("--batch-size", type=count, default=defaults.HEAD_BATCH, metavar="N", help="images a step")
    verb.add_argument("--balanced", action="store_true", help="weight classes by their rarity")
    max_bad(verb)
    verb.add_argument(
        "--views",
        type=count,
        metavar="N",
        help="views of each train image, of which an epoch draws one (default: all that the store has)",
    )

    head = verb.add_argument_group("the dense head, first trained on frozen features")
    head.add_argument("--head-epochs", type=count, default=defaults.EPOCHS, metavar="N", help="passes")
    head.add_argument("--head-learning-rate", type=float, default=defaults.LEARNING_RATE, metavar="F", help="of Adam")
    hidden_layers(head)
