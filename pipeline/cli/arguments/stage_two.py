"""Options of `heads`, and those that `finetune` shares."""

from __future__ import annotations

import argparse

from pipeline import defaults
from pipeline.cli.arguments.option_types import count, fraction, head_key_value, names, units
from pipeline.heads import head_names


def heads(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument(
        "--heads", type=names, default=",".join(head_names()), metavar="NAME,NAME", help="which heads to train"
    )
    verb.add_argument(
        "--set",
        action="append",
        type=head_key_value,
        default=[],
        metavar="HEAD.KEY=VALUE",
        dest="settings",
        help="a parameter of one head, such as logistic.C=0.1; may be given again",
    )
    verb.add_argument("--balanced", action="store_true", help="weight classes by their rarity, in heads that can")
    max_bad(verb)
    verb.add_argument(
        "--repeats",
        type=count,
        default=1,
        metavar="N",
        help="train each head with N seeds and show the spread of their accuracies; the first one's head is kept",
    )

    verb.add_argument(
        "--views",
        type=count,
        metavar="N",
        help="views of each train image to train on, 1 for the images alone (default: all that the store has)",
    )

    dense = verb.add_argument_group("the dense head")
    dense.add_argument("--epochs", type=count, default=defaults.EPOCHS, metavar="N", help="passes over the images")
    dense.add_argument("--batch-size", type=count, default=defaults.HEAD_BATCH, metavar="N", help="images a step")
    hidden_layers(dense)
    dense.add_argument("--learning-rate", type=float, default=defaults.LEARNING_RATE, metavar="F", help="of Adam")
    dense.add_argument(
        "--early-stopping",
        type=count,
        metavar="N",
        help="stop after N epochs without a better validation loss and keep the best weights",
    )


def max_bad(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--max-bad",
        type=fraction,
        default=defaults.MAX_BAD,
        metavar="F",
        help="largest fraction of images without features",
    )


def hidden_layers(dense: argparse._ArgumentGroup) -> None:
    dense.add_argument(
        "--units",
        type=units,
        default=",".join(map(str, defaults.UNITS)),
        metavar="N,N",
        help="sizes of the hidden layers",
    )
    dense.add_argument(
        "--dropout",
        type=fraction,
        default=defaults.DROPOUT,
        metavar="F",
        help="fraction dropped after each hidden layer",
    )
