"""Measured figures and their table."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Figure:
    """A measured figure, one row of the table.

    Attributes
    ----------
    key : str
        Its name in the JSON file; the text before the first dot is the part of the bench.
    what : str
        Its name in the table.
    samples : tuple of float
        All measurements; the value of the figure is their median.
    unit : str
        Unit of the samples; empty for numbers and shares.
    at_least, at_most : float, optional
        The goal, if there is one.
    note : str
        How it was measured.
    """

    key: str
    what: str
    samples: tuple[float, ...]
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def part(self) -> str:
        """The part of the bench that the figure belongs to."""
        return self.key.partition(".")[0]

    @property
    def value(self) -> float:
        """The median of the samples."""
        return statistics.median(self.samples)

    @property
    def goal(self) -> str:
        """The goal as text; empty if there is none."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None if there is none."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    def to_json(self) -> dict[str, Any]:
        """Return all attributes, the value and whether the goal is reached."""
        return {**asdict(self), "value": self.value, "reached": self.reached}


def figure(key: str, what: str, measured: float | Sequence[float], unit: str, **more: Any) -> Figure:
    """Make a `Figure` of one or several measurements."""
    samples = (measured,) if isinstance(measured, (int, float)) else tuple(measured)
    return Figure(key, what, tuple(map(float, samples)), unit, **more)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Divide round by round, because a slow round affects both sides."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def make_table(figures: Sequence[Figure], headings: Mapping[str, str]) -> Table:
    """Return a table of the figures, grouped by part."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    table.add_column("what")
    table.add_column("value", justify="right", no_wrap=True)
    for name in ("unit", "goal", "reached"):
        table.add_column(name, no_wrap=True)
    table.add_column("measured how", ratio=1)
    part = ""
    for figure in figures:
        if figure.part != part:
            part = figure.part
            table.add_row()
            table.add_row(Text(headings[part], style="bold"))
        reached = {None: Text(""), True: Text("yes", style="green"), False: Text("NO", style="bold red")}[
            figure.reached
        ]
        table.add_row(
            Text(f"  {figure.what}"),
            format_number(figure.value),
            figure.unit,
            figure.goal,
            reached,
            Text(figure.note, style="dim"),
        )
    return table


def format_number(value: float) -> str:
    """Format a number with about three digits."""
    decimals = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{decimals}f}"


def format_seconds(seconds: float) -> str:
    """Format seconds as seconds, minutes or hours."""
    if seconds < 100:
        return f"{format_number(seconds)} s"
    return f"{format_number(seconds / 60)} min" if seconds < 6000 else f"{format_number(seconds / 3600)} h"
