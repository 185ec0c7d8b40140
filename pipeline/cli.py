"""The command line: arguments in, one call of the package, words out.

Exit status: 0 done; 1 it ran and found or left something wrong; 2 the request cannot be carried
out; 130 interrupted, with everything finished so far kept.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from pipeline.arguments import parser
from pipeline.errors import PipelineError

INTERRUPTED = 130
GOES_ON = ("features", "heads", "finetune", "repair")  # verbs that keep what they finished before an error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    options = parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what matters comes as an exception
    logging.basicConfig(level=logging.INFO if options.verbose else logging.ERROR, format="%(name)s: %(message)s")
    logging.captureWarnings(True)  # Pillow's and scikit-learn's; --verbose shows them
    _listen_to_signals()
    # After the arguments are known to be good: it takes longer to import.
    verb = import_module(f"pipeline.verbs.{options.verb}")

    try:
        return int(verb.run(options))
    except PipelineError as error:
        return _complain(str(error), error.exit_status)
    except KeyboardInterrupt:
        kept = ": what was finished is kept; the same command goes on from there" if _goes_on(options) else ""
        return _complain(f"interrupted{kept}", INTERRUPTED)
    except BrokenPipeError:  # whoever read our output is gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _complain("out of memory; try a smaller --batch-size or fewer --heads", 1)
    except OSError as error:
        kept = "what was finished is kept, the same command goes on from there"
        return _complain(f"{error}; {kept}" if _goes_on(options) else str(error), 1)


def _goes_on(options: Namespace) -> bool:
    return options.verb in GOES_ON or (options.verb == "predict" and options.out is not None)


def _complain(text: str, status: int) -> int:
    line = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    print(f"pipeline: {line}", file=sys.stderr)
    return status


def _listen_to_signals() -> None:
    """Once: finish cleanly. Twice: stop at once; the store is valid at any moment."""
    seen: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if seen:
            os._exit(INTERRUPTED)
        seen.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
