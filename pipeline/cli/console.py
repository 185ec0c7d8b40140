"""Lines and tables for a person at a terminal; plain lines in a log. Imports rich only when it prints."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from pipeline.text import printable

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_OF_A_LOG = 200  # characters
MAX_LISTED = 20  # lines of a list of files or images


def say(text: str) -> None:
    """Print a result: a line on standard output."""
    _print_line(stdout(), text)


def note(text: str) -> None:
    """Print progress: a line on standard error."""
    _print_line(stderr(), text)


def warn(text: str) -> None:
    """Print a warning: a bold red line on standard error."""
    _print_line(stderr(), text, "bold red")


def list_some(heading: str, lines: Sequence[str]) -> None:
    """Print the first lines of a list on standard error, each after its heading."""
    for line in lines[:MAX_LISTED]:
        note(f"{heading}: {line}")
    if len(lines) > MAX_LISTED:
        note(f"{heading}: ... and {len(lines) - MAX_LISTED} more")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> None:
    """Print a table without lines on standard output; with `numbers`, all columns but the first align right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if numbers and i else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    stdout().print(table)


def stdout() -> Console:
    """Return the console of results."""
    return _console(_original(sys.stdout))


def stderr() -> Console:
    """Return the console of progress and warnings."""
    return _console(_original(sys.stderr))


def _original(stream: TextIO) -> TextIO:
    """Return the stream that rich has replaced while it shows a bar."""
    original: TextIO = getattr(stream, "rich_proxied_file", stream)
    return original


@functools.lru_cache(maxsize=2)  # the console that shows a bar must be the one that prints lines above it
def _console(stream: TextIO) -> Console:
    from rich.console import Console

    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH_OF_A_LOG  # None: as wide as the window
    return Console(file=stream, highlight=False, soft_wrap=True, width=width)


def _print_line(console: Console, text: str, style: str = "") -> None:
    """Print text as it is: brackets are no markup, and control characters are escaped."""
    from rich.text import Text

    console.print(Text(printable(text), style=style))


@contextlib.contextmanager
def show_log(verbose: bool) -> Iterator[None]:
    """Show log records on standard error: warnings of this package, and with `verbose` all from INFO up.

    Errors of other libraries are shown; their warnings and Python's only with `verbose`. The
    logging of the process is as before on leaving.
    """
    root, own = logging.getLogger(), logging.getLogger("pipeline")
    handler = _LogHandler(verbose)
    levels, show_warning = (root.level, own.level), warnings.showwarning
    if verbose:
        root.setLevel(logging.INFO)
    own.setLevel(logging.INFO if verbose else logging.WARNING)
    root.addHandler(handler)
    warnings.showwarning = _log_warning
    try:
        yield
    finally:
        warnings.showwarning = show_warning
        root.removeHandler(handler)
        root.setLevel(levels[0])
        own.setLevel(levels[1])


class _LogHandler(logging.Handler):
    def __init__(self, verbose: bool):
        super().__init__()
        self.verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        own = record.name.partition(".")[0] == "pipeline"
        text = " ".join(record.getMessage().split())
        if own and record.levelno >= logging.WARNING:
            warn(text)
        elif self.verbose or record.levelno >= logging.ERROR:
            note(f"{record.name}: {text}")


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    logging.getLogger("py.warnings").warning("%s:%d: %s: %s", filename, lineno, category.__name__, message)


def start_tensorflow_quietly() -> None:
    """Import TensorFlow and Keras without the lines that their native code prints; Python's errors are not hidden."""
    if "tensorflow" in sys.modules:
        return
    with _without_native_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.zeros(1)  # the first operation prints the last of these lines
    # TensorFlow takes several models, each traced once, for one model that is traced again and again, and warns.
    tf.get_logger().setLevel(logging.ERROR)


@contextlib.contextmanager
def _without_native_stderr() -> Iterator[None]:
    sys.stderr.flush()
    saved = os.dup(2)
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(devnull)
