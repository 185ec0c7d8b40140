"""The command line: parse the arguments and run one verb.

Exit status: 0 done; 1 it ran and found or left something wrong; 2 the request cannot be carried
out; 130 interrupted, with everything finished so far kept.
"""

import argparse
import sys
from collections.abc import Sequence

from pipeline import __version__
from pipeline.cli import (
    compare,
    duplicates,
    export,
    features,
    finetune,
    heads,
    info,
    pack,
    predict,
    repair,
    report,
    train_base,
    verify,
)
from pipeline.cli.exit import one_line_errors
from pipeline.cli.log import show_log
from pipeline.text import COMMAND

VERB_MODULES = (
    features,
    heads,
    compare,
    finetune,
    train_base,
    predict,
    export,
    verify,
    repair,
    duplicates,
    info,
    report,
    pack,
)
VERBS = {module.__name__.rpartition(".")[2].replace("_", "-"): module for module in VERB_MODULES}
# Verbs that continue after an error; also `predict --out`
RESUMABLE = ("features", "heads", "compare", "finetune", "train-base", "repair")
RESUME_HINT = "what was finished is kept; the same command continues from there"
EXAMPLES = f"""examples:
  {COMMAND} features photos --cache cache/photos
  {COMMAND} features photos --cache cache/m --conv-base mobilenet_v2 --conv-base-arg alpha=0.35 --size 224
  {COMMAND} heads cache/photos --heads dense,logistic
  {COMMAND} info cache/photos
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments`, by default those of the process, describe; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser(arguments).parse_args(arguments)
    resumable = options.verb in RESUMABLE or (options.verb == "predict" and options.out is not None)
    try:
        with show_log(options.verbose), one_line_errors("pipeline", RESUME_HINT if resumable else ""):
            return int(VERBS[options.verb].run(options))
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 1


def parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of `python -m pipeline`; only verbs named in the arguments get their options, to save time."""
    top = argparse.ArgumentParser(
        prog=COMMAND,
        description="Run a frozen conv base once over every image, store its features, train heads on them in seconds.",
        epilog=EXAMPLES,
        formatter_class=_HelpFormatter,
    )
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, module in VERBS.items():
        verb = verbs.add_parser(name, help=module.__doc__, description=module.__doc__, formatter_class=_HelpFormatter)
        if name in arguments:
            module.add_arguments(verb)
            verb.add_argument("-v", "--verbose", action="store_true", help="log what is done and why")
    return top


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.default is None or action.default is False or action.default in ([], argparse.SUPPRESS):
            return text
        return f"{text} (default: %(default)s)"
