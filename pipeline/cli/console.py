"""Lines and tables for a person at a terminal; plain lines in a log. Imports rich only when it prints."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from pipeline.conv_base.start_tensorflow import start_tensorflow_quietly as start_tensorflow_quietly
from pipeline.text import printable

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_OF_A_LOG = 200  # characters
MAX_LISTED = 20  # lines of a list of files or images


def say(text: str) -> None:
    """Print a result: a line on standard output."""
    stdout().out(printable(text))  # `out`: brackets are no markup


def note(text: str) -> None:
    """Print progress: a line on standard error."""
    stderr().out(printable(text))


def warn(text: str) -> None:
    """Print a warning: a bold red line on standard error."""
    stderr().out(printable(text), style="bold red")


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
    return _console(getattr(sys.stdout, "rich_proxied_file", sys.stdout))


def stderr() -> Console:
    """Return the console of progress and warnings."""
    # While rich shows a bar, it replaces the stream. The console that shows the bar must print the lines above it.
    return _console(getattr(sys.stderr, "rich_proxied_file", sys.stderr))


@functools.lru_cache(maxsize=2)
def _console(stream: TextIO) -> Console:
    from rich.console import Console

    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH_OF_A_LOG  # None: as wide as the window
    return Console(file=stream, highlight=False, soft_wrap=True, width=width)
