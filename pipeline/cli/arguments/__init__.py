"""Every verb and option of the command line, explained; nothing heavy is imported here."""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, version

from pipeline.cli.arguments import export, finetune, predict, stage_one, stage_two, stores

EXAMPLES = """examples:
  python -m pipeline features photos --cache cache/photos
  python -m pipeline features photos --cache cache/m --conv-base mobilenet_v2 --conv-base-arg alpha=0.35 --size 224
  python -m pipeline heads cache/photos --heads dense,logistic
  python -m pipeline info cache/photos
"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows a default where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.default is None or action.default is False or action.default in ([], argparse.SUPPRESS):
            return text
        return f"{text} (default: %(default)s)"


def parser() -> argparse.ArgumentParser:
    """The parser of `python -m pipeline`."""
    top = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="Run a frozen conv base once over every image, keep its features, train heads on them in seconds.",
        epilog=EXAMPLES,
        formatter_class=_Help,
    )
    top.add_argument("--version", action="version", version=_version())
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, fill, text in (
        ("features", stage_one.features, "stage one: fill or update the store at --cache"),
        ("heads", stage_two.heads, "stage two: train heads on a store, score and save them, print a leaderboard"),
        ("finetune", finetune.finetune, "tune the layers above a store's cut together with a head"),
        ("predict", predict.predict, "label new images: a CSV line each, status 1 if one cannot be used"),
        ("export", export.export, "conv base and head as one model: image in, probability out; checked after writing"),
        ("verify", stores.verify, "is every row what it claims to be? Names, sizes, fingerprints by default"),
        ("repair", stores.repair, "put bad shards into quarantine and compute only those again"),
        (
            "duplicates",
            stores.duplicates,
            "one picture twice? Status 1 if any lies across splits or under two labels; changes nothing",
        ),
        ("info", stores.info, "what a store holds"),
        ("report", stores.report, "one HTML page about a store and its heads, for a person to look at"),
        ("pack", stores.pack, "all features of a store as one HDF5 file, without its augmented views"),
    ):
        verb = verbs.add_parser(name, help=text, description=text, formatter_class=_Help)
        fill(verb)
        verb.add_argument("-v", "--verbose", action="store_true", help="log what is done and why")
    return top


def _version() -> str:
    try:
        return version("cached-feature-pipeline")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "not installed"
