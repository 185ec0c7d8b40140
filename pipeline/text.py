"""Words for a person: printable text, counts, sizes and durations."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text that any terminal can show: what is not UTF-8 and what controls a terminal is escaped."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def counted(n: int, noun: str, nouns: str | None = None) -> str:
    """A number of things: `1 row`, `2 rows`; `nouns` where an s is not enough."""
    return f"{n} {noun}" if n == 1 else f"{n} {nouns or noun + 's'}"


def format_size(n: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def format_duration(seconds: float) -> str:
    """Seconds for a person."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
