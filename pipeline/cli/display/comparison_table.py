"""The table of a comparison and its advice, in the width of the window."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

from rich.table import Table
from rich.text import Text

from pipeline.cli import console
from pipeline.comparison import ComparedRow, Comparison
from pipeline.evaluation import with_interval
from pipeline.report.comparison import seconds_of
from pipeline.text import printable

COLUMNS: dict[str, Callable[[ComparedRow], str]] = {
    "accuracy": lambda row: with_interval(row.accuracy or 0.0, row.accuracy_interval),
    "to the best": lambda row: _difference(row),
    "ms": lambda row: f"{row.ms:.1f}",
    "model MB": lambda row: "" if row.model_mb is None else f"{row.model_mb:.2f}",
    "all images": seconds_of,
    "feature MB": lambda row: f"{row.feature_mb:.3f}",
    "parameters": lambda row: "" if row.parameters is None else f"{row.parameters:,}",
    "images": lambda row: str(row.train_images + row.validation_images),
}
DROPPED_FIRST = ("images", "parameters", "feature MB", "all images", "model MB")


def print_comparison(comparison: Comparison) -> None:
    """Print the table, the reasons of rows without scores, and the advice."""
    out = console.stdout()
    if any(row.accuracy is not None for row in comparison.rows):
        out.print(comparison_table(comparison, out.width))
    for row in comparison.rows:
        if row.problem:
            console.say(f"{row.label}: {row.problem}")
    for line in comparison.advice:
        console.say(line)
    if comparison.images and not comparison.is_whole:
        console.say(
            f"compared on {comparison.images} of {comparison.all_images} images; --full goes on with the best rows"
        )


def comparison_table(comparison: Comparison, width: int) -> Table:
    """Return a table with a row for each spec that has scores.

    If the window is too narrow, intervals stand below their numbers; if that is not enough, the columns in
    `DROPPED_FIRST` are left out one by one. All of them are in the page.
    """
    rows = [row for row in comparison.rows if row.accuracy is not None]
    columns = {name: [cell(row) for row in rows] for name, cell in COLUMNS.items()}
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    narrow = {name: [re.sub(r" (?=[\[(])", "\n", cell) for cell in cells] for name, cells in columns.items()}
    droppable = [name for name in DROPPED_FIRST if name in columns]
    options = console.stdout().options.update(width=console.WIDTH_OF_A_LOG)
    for n in range(-1, len(droppable) + 1):  # -1: as wide as the cells are
        shown = {name: narrow[name] for name in narrow if name not in droppable[:n]} if n >= 0 else columns
        table = Table(title="Conv bases, best accuracy first", title_justify="left", title_style="bold")
        table.header_style, table.caption_justify = "", "left"
        table.show_lines = n >= 0
        for name in ("spec", "", *shown):
            table.add_column(name, justify="right" if name in shown else "left", overflow="fold")
        for row, *cells in zip(rows, *shown.values(), strict=True):
            label = printable(row.label)
            table.add_row(Text(label if n < 0 else label.replace(", ", "\n", 1)), _marks(row), *map(Text, cells))
        if console.stdout().measure(table, options=options).maximum <= width:
            break
    legend = "*: take this; P: no row is better in both accuracy and ms; ~: estimated before"
    legend += f"; columns on the page only: {', '.join(droppable[:n])}" if n > 0 else ""
    table.caption = Text(textwrap.fill(legend, width))
    return table


def _difference(row: ComparedRow) -> str:
    if row.difference is None or row.difference_interval is None:
        return ""
    low, high = row.difference_interval
    return f"{row.difference:+.4f} [{low:+.3f}, {high:+.3f}]"


def _marks(row: ComparedRow) -> Text:
    return Text("*" * row.is_recommended + "P" * row.is_pareto)
