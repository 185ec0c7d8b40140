"""Options of the verbs that look after a store: verify, repair, info, pack."""

from __future__ import annotations

import argparse

from pipeline.arguments.kinds import count
from pipeline.arguments.stage_one import batches


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


def repair(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    batches(verb)


def pack(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument("file", metavar="FILE.h5", help="replaced if it exists")


def info(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument("--json", action="store_true", help="all of it as one JSON document")
