"""Options of the verbs that look after a store: verify, repair, duplicates, info, report, pack."""

from __future__ import annotations

import argparse

from pipeline import defaults
from pipeline.cli.arguments.option_types import count, fraction
from pipeline.cli.arguments.stage_one import batches


def verify(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument("--full", action="store_true", help="read every byte")
    verb.add_argument(
        "--recompute",
        type=count,
        default=0,
        metavar="N",
        help="put N random rows through the conv base again",
    )
    verb.add_argument("--sources", action="store_true", help="read every image: is it still the one in the index?")
    verb.add_argument(
        "--model",
        metavar="FILE.keras",
        help="an exported model: does it say what features and head say? Status 1 above 0.001 in float32",
    )
    verb.add_argument(
        "--images", type=count, default=defaults.COMPARED, metavar="N", help="validation images that --model compares"
    )


def duplicates(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument("--csv", metavar="FILE.csv", help="write all pairs; replaced if it exists")
    verb.add_argument(
        "--groups",
        metavar="FILE.csv",
        help="write all images, each group of duplicates in one split, as IMAGES for `features`; replaced if it exists",
    )
    verb.add_argument(
        "--threshold",
        type=fraction,
        default=defaults.THRESHOLD,
        metavar="F",
        help="least cosine of features from which two pictures are looked at; lower finds more, in more time",
    )


def repair(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    batches(verb)


def report(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument("--out", metavar="FILE.html", help="replaced if it exists (default: DIR/report.html)")
    verb.add_argument("--head", metavar="NAME", help="the head to show in detail (default: the most accurate one)")


def pack(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument("file", metavar="FILE.h5", help="replaced if it exists")


def info(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument("--json", action="store_true", help="all of it as one JSON document")
