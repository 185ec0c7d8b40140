"""How a program ends that something stopped: one line on standard error, and an exit status.

2 the request cannot be carried out; 1 something is wrong with files or machine; 130 interrupted.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from pipeline.errors import PipelineError

INTERRUPTED = 130
AGAIN = 0.05  # seconds until an interruption that was lost comes back
STOPS = (PipelineError, KeyboardInterrupt, MemoryError, OSError)


@contextlib.contextmanager
def in_one_line(program: str, kept: str = "") -> Iterator[None]:
    """Run what a program does; what stops it ends the process with one line instead of a traceback.

    Parameters
    ----------
    program : str
        What the line begins with.
    kept : str
        What to say of the work done so far when an interruption or the disk stopped it.

    Raises
    ------
    SystemExit
        With the status, in place of a `PipelineError`, Ctrl-C, an end of memory or an `OSError`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what matters comes as an exception
    signals = _listen_to_signals()
    try:
        yield
    except BrokenPipeError:  # whoever read our output is gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except BaseException as error:
        exec("")  # CPython would end by the signal, and not with a status, if this had come out of another `exec`
        if signals and not isinstance(error, SystemExit):
            error = KeyboardInterrupt()  # a library may make something else of it, while it is imported above all
        if not isinstance(error, STOPS):
            raise
        sys.exit(_complain(error, program, kept))


def _complain(error: BaseException, program: str, kept: str) -> int:
    words = {KeyboardInterrupt: "interrupted", MemoryError: "out of memory; try smaller batches or fewer heads"}
    text = words.get(type(error), str(error))
    if kept and isinstance(error, (KeyboardInterrupt, OSError)):
        text = f"{text}: {kept}"
    from pipeline.text import printable  # nothing else needs it here, and it is not quick to import

    print(f"{program}: {printable(' '.join(text.split()))}", file=sys.stderr)
    if isinstance(error, PipelineError):
        return error.exit_status
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _listen_to_signals() -> list[int]:
    """Once: finish cleanly. Twice: stop at once; stores are valid at any moment. Returns those that came."""
    came: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if came:
            os._exit(INTERRUPTED)
        came.append(number)
        raise KeyboardInterrupt

    def again(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)
        else:  # it met a callback, of an import say, which lets nothing through
            came.clear()
            threading.Timer(AGAIN, _thread.interrupt_main).start()

    sys.unraisablehook = again
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return came
