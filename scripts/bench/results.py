"""A measured figure, and the table of all of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes
    ----------
    key : str
        What the JSON calls it; up to the first dot, the part it belongs to.
    what : str
        What a person calls it.
    samples : tuple of float
        Each measurement; the figure is their median.
    at_least, at_most : float, optional
        The goal.
    note : str
        How it was measured, where that is not plain.
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
        """The part of the bench it belongs to."""
        return self.key.partition(".")[0]

    @property
    def value(self) -> float:
        """The median of the samples."""
        return statistics.median(self.samples)

    @property
    def goal(self) -> str:
        """The goal in words; empty where there is none."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**asdict(self), "value": self.value, "reached": self.reached}


def figure(key: str, what: str, measured: float | Sequence[float], unit: str, **more: Any) -> Figure:
    """A figure of one or of several measurements; see `Figure`."""
    samples = (measured,) if isinstance(measured, (int, float)) else tuple(measured)
    return Figure(key, what, tuple(map(float, samples)), unit, **more)


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Round by round, so that what slows a round down is on both sides."""
    return [a / b for a, b in zip(above, below, strict=True)]


def table(figures: Sequence[Figure], headings: Mapping[str, str]) -> Table:
    """The figures, grouped by part."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    shown.add_column("what")
    shown.add_column("value", justify="right", no_wrap=True)
    for name in ("unit", "goal", "reached"):
        shown.add_column(name, no_wrap=True)
    shown.add_column("measured how", ratio=1)
    part = ""
    for one in figures:
        if one.part != part:
            part = one.part
            shown.add_row()
            shown.add_row(Text(headings[part], style="bold"))
        reached = {None: Text(""), True: Text("yes", style="green"), False: Text("NO", style="bold red")}[one.reached]
        shown.add_row(
            Text(f"  {one.what}"), spelled(one.value), one.unit, one.goal, reached, Text(one.note, style="dim")
        )
    return shown


def spelled(value: float) -> str:
    """A number to three digits or so, as a person writes it."""
    decimals = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{decimals}f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{spelled(seconds)} s"
    return f"{spelled(seconds / 60)} min" if seconds < 6000 else f"{spelled(seconds / 3600)} h"
