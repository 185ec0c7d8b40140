"""What ends a program early: an error or a signal becomes one line on standard error and an exit status."""

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
from pipeline.text import printable

INTERRUPTED = 130
RETRY_SECONDS = 0.05  # until an interruption that a callback swallowed is raised again


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM. After a plain `KeyboardInterrupt` inside an `exec` CPython ends by the signal, not 130."""


@contextlib.contextmanager
def one_line_errors(program: str, resume_hint: str = "") -> Iterator[None]:
    """Run the body of a program; an error or a signal ends it with one line instead of a traceback.

    SIGINT or SIGTERM once interrupts the body, a second time ends the process at once: stores are valid at any
    moment. A SystemExit with the exit status replaces a `PipelineError`, `KeyboardInterrupt`, `MemoryError` or
    `OSError`, and any error after a signal. `program` is the first word of the line; `resume_hint` is added after
    an interruption or an `OSError`. Handlers are restored on leaving; off the main thread Python allows none.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow raises what matters
    with contextlib.ExitStack() as cleanup:
        signals = _Signals(cleanup)
        try:
            yield
        except BrokenPipeError:  # the reader of our output is gone, as with `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except BaseException as error:
            if not signals.received:
                sys.exit(_print_error(error, program, resume_hint))
        if signals.received:  # also where a library has replaced or swallowed the interruption
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
    print(f"{program}: {printable(' '.join(text.split()))}", file=sys.stderr)
    return status


class _Signals:
    """Makes SIGINT and SIGTERM raise `Interrupted` until `cleanup` is closed; off the main thread it does nothing."""

    def __init__(self, cleanup: contextlib.ExitStack) -> None:
        self.received = self._swallowed = False
        self._cleanup, self._hook = cleanup, sys.unraisablehook
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.signal(number, self._interrupt)
                cleanup.callback(signal.signal, number, signal.SIG_DFL if handler is None else handler)
            cleanup.callback(setattr, sys, "unraisablehook", self._hook)
            sys.unraisablehook = self._retry_if_swallowed

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.received and not self._swallowed:
            os._exit(INTERRUPTED)
        self.received, self._swallowed = True, False
        raise Interrupted

    def _retry_if_swallowed(self, unraisable: Any) -> None:
        """Interrupt again after a callback, such as `__del__`, has swallowed the interruption."""
        if not isinstance(unraisable.exc_value, Interrupted):
            self._hook(unraisable)
            return
        # Raised here it would be swallowed, too, and the main thread may wait in C code: only a timer can repeat it.
        self._swallowed = True
        timer = threading.Timer(RETRY_SECONDS, lambda: _thread.interrupt_main() if self._swallowed else None)
        timer.start()
        self._cleanup.callback(timer.cancel)
