"""The command line: arguments in, one call of the package, words out.

Exit status: 0 done; 1 it ran and found or left something wrong; 2 the request cannot be carried
out; 130 interrupted, with everything finished so far kept.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module

from pipeline.cli.arguments import parser
from pipeline.cli.exit import in_one_line

GOES_ON = ("features", "heads", "finetune", "repair")  # verbs that keep what they finished before an error
KEPT = "what was finished is kept; the same command goes on from there"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.ERROR, format="%(name)s: %(message)s")
    logging.captureWarnings(True)  # Pillow's and scikit-learn's; --verbose shows them
    try:
        with in_one_line("pipeline", KEPT if _goes_on(options) else ""):
            # After the arguments are known to be good: it takes longer to import.
            return int(import_module(f"pipeline.cli.verbs.{options.verb}").run(options))
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 1


def _goes_on(options: Namespace) -> bool:
    return options.verb in GOES_ON or (options.verb == "predict" and options.out is not None)
