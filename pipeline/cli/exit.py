"""What ends a program early: an error or a signal becomes one line on standard error and an exit status.

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
from types import FrameType
from typing import Any

from pipeline.errors import PipelineError

INTERRUPTED = 130
RETRY_SECONDS = 0.05  # until an interruption that a callback swallowed is raised again


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM. After a plain `KeyboardInterrupt` inside an `exec` CPython ends by the signal, not 130."""


@contextlib.contextmanager
def one_line_errors(program: str, resume_hint: str = "") -> Iterator[None]:
    """Run the body of a program; an error or a signal ends it with one line instead of a traceback.

    SIGINT or SIGTERM once interrupts the body, a second time ends the process at once: stores are
    valid at any moment. Signal handlers and hooks are restored on leaving. Outside of the main
    thread, where Python allows no signal handlers, only errors are handled.

    Parameters
    ----------
    program : str
        First word of the line.
    resume_hint : str
        Added to the line after an interruption or an `OSError`.

    Raises
    ------
    SystemExit
        With the exit status, in place of a `PipelineError`, `KeyboardInterrupt`, `MemoryError` or
        `OSError`, and in place of any error after a signal.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow raises what matters
    with _received_signals() as signals:
        try:
            yield
        except BrokenPipeError:  # the reader of our output is gone, as with `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except BaseException as error:
            if not signals:
                sys.exit(_print_error(error, program, resume_hint))
        if signals:  # also where a library has replaced or swallowed the interruption
            sys.exit(_print_error(Interrupted(), program, resume_hint))


def _print_error(error: BaseException, program: str, resume_hint: str) -> int:
    """Print the line of an error and return the exit status; raise an error that is a defect of the program."""
    if isinstance(error, KeyboardInterrupt):
        text, status = "interrupted", INTERRUPTED
    elif isinstance(error, MemoryError):
        text, status = "out of memory; try smaller batches or fewer heads", 1
    elif isinstance(error, (PipelineError, OSError)):
        text, status = str(error), getattr(error, "exit_status", 1)
    else:
        raise error
    if resume_hint and isinstance(error, (KeyboardInterrupt, OSError)):
        text = f"{text}: {resume_hint}"
    from pipeline.text import printable

    print(f"{program}: {printable(' '.join(text.split()))}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _received_signals() -> Iterator[list[int]]:
    """Raise `Interrupted` on SIGINT and SIGTERM, and list the signals that arrived."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    timers: list[threading.Timer] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            os._exit(INTERRUPTED)
        received.append(number)
        raise Interrupted

    def retry() -> None:
        if not received:
            _thread.interrupt_main()

    def hook(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Interrupted):
            previous_hook(unraisable)
            return
        # A callback, such as `__del__`, swallowed the interruption. Raised in this hook it would be swallowed
        # too, and the main thread may be blocked, so only another thread can repeat it.
        received.clear()
        timers.append(threading.Timer(RETRY_SECONDS, retry))
        timers[-1].start()

    previous_hook, sys.unraisablehook = sys.unraisablehook, hook
    previous_handlers = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = previous_hook
        for number, handler in previous_handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
