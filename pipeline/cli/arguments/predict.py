"""Options of `predict`."""

from __future__ import annotations

import argparse

from pipeline import defaults
from pipeline.cli.arguments.option_types import count, fraction
from pipeline.cli.arguments.stage_one import batches


def _quantile(text: str) -> float:
    try:
        return fraction(text)
    except argparse.ArgumentTypeError as error:
        hint = f"put --unknown last, or a number behind it: --unknown {defaults.UNKNOWN}"
        raise argparse.ArgumentTypeError(f"{error}; {hint}") from None


def predict(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store with trained heads")
    verb.add_argument(
        "images",
        metavar="IMAGES",
        nargs="+",
        help="images, folders of any layout, CSV files with a column path; - for paths from standard input, one a line",
    )
    verb.add_argument("--head", metavar="NAME", help="a saved head (default: the best validation accuracy)")
    verb.add_argument(
        "--out",
        metavar="FILE.csv",
        help="an older one is replaced when all images are labelled; until then lines gather in "
        "FILE.csv.partial-..., and the same command goes on from them (default: standard output)",
    )
    verb.add_argument(
        "--unknown",
        type=_quantile,
        nargs="?",
        const=defaults.UNKNOWN,
        metavar="QUANTILE",
        help="add the columns distance, from the nearest training images, and unknown: further away than this "
        f"quantile of the training images are from each other ({defaults.UNKNOWN} if no number follows)",
    )
    verb.add_argument(
        "--views",
        type=count,
        default=1,
        metavar="K",
        help="average over K views of each image, itself and K - 1 augmented copies; K times the forward passes",
    )
    batches(verb)
