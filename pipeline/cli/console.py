"""Words and bars for a person at a terminal; plain lines where there is none."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from pipeline.text import format_duration, printable

WIDE = 200  # characters, where nobody's window sets a limit
LINE_EVERY = 10.0  # seconds between lines in a log
BAR_EVERY = 0.1  # seconds between two looks of a bar
MEASURABLE = 1.0  # seconds; what took less has no pace worth telling


def out() -> Console:
    """Where results go: standard output."""
    return Console(highlight=False, soft_wrap=True, width=_width(sys.stdout))


def err() -> Console:
    """Where progress goes: standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True, width=_width(sys.stderr))


def _width(stream: TextIO) -> int | None:
    """None where rich is to find out: from the window, or from what the user set."""
    return None if stream.isatty() or "COLUMNS" in os.environ else WIDE


def say(text: str) -> None:
    """One line on standard output; brackets and odd file names are printed as they are."""
    out().print(Text(printable(text)))


def note(text: str) -> None:
    """One line on standard error, where it stays out of what is written on standard output."""
    err().print(Text(printable(text)))


class Meter:
    """A bar on a terminal, a line now and then in a log; without a total they do not tell the time left."""

    def __init__(self, what: str, total: int | None, unit: str):
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self.start = self.last_shown = time.monotonic()
        self.bar: Bar | None = None
        if sys.stderr.isatty():
            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
            self.bar = Bar(*columns, TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=err())
            self.task = self.bar.add_task(what, total=total, rate="")
            self.bar.start()

    def advance(self, to: int) -> None:
        """So much is done."""
        self.done = to
        now = time.monotonic()
        if now - self.last_shown >= (LINE_EVERY if self.bar is None else BAR_EVERY):
            self.last_shown = now
            self._show(now)

    def close(self) -> None:
        """The step is over, at its end or not."""
        now = time.monotonic()
        if self.done and (self.bar is not None or now - self.start >= MEASURABLE):
            self._show(now)
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def rate(self) -> float:
        """Units a second since the start."""
        return self._rate(time.monotonic())

    def _rate(self, now: float) -> float:
        return self.done / max(now - self.start, 1e-9)

    def _show(self, now: float) -> None:
        pace = f"{self._rate(now):.1f} {self.unit}/s"
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, rate=pace if now - self.start >= MEASURABLE else "")
            return
        of, left = "", ""
        if self.total is not None:
            of = f"/{self.total}"
            left = f", {format_duration((self.total - self.done) / max(self._rate(now), 1e-9))} left"
        if self.done == self.total:
            left = f", took {format_duration(now - self.start)}"
        print(f"{self.what}: {self.done}{of} {self.unit}, {pace}{left}", file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """One line on standard error that is not to be missed."""
    err().print(Text(printable(text), style="bold red"))


def start_tensorflow_quietly() -> None:
    """Import TensorFlow with its native start-up lines sent to nowhere; Python's errors still arrive."""
    if "tensorflow" in sys.modules:
        return
    with _without_native_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.zeros(1)  # the rest of the lines come with the first operation
    # Models that are each traced once, as several heads are, count together as "retracing".
    tf.get_logger().setLevel(logging.ERROR)


@contextlib.contextmanager
def _without_native_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
