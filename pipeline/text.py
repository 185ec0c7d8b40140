"""Text for messages: printable text, counts, sizes and durations, and how the command line is called."""

import contextlib
import sys
from pathlib import Path


def _python() -> str:
    """Return the Python that runs if it lies below the current folder, as `.venv` of a project does, else `python`."""
    with contextlib.suppress(OSError, ValueError):  # the current folder is gone; Python lies elsewhere
        return str(Path(sys.executable or "").relative_to(Path.cwd()))
    return "python"


COMMAND = f"{_python()} -m pipeline"  # to be typed in the current folder


def printable(text: str) -> str:
    """Return text that any terminal can show; control characters and what is not UTF-8 are escaped."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def counted(n: int, noun: str, nouns: str | None = None) -> str:
    """Return a number with its noun, `1 row` or `2 rows`; `nouns` is an irregular plural."""
    return f"{n} {noun}" if n == 1 else f"{n} {nouns or noun + 's'}"


def format_size(n: float) -> str:
    """Return a number of bytes as text, `501.8 MB` for example."""
    from rich.filesize import decimal  # not needed by --help

    return decimal(int(n))


def format_duration(seconds: float) -> str:
    """Return seconds as text, `1m05s` for example."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
