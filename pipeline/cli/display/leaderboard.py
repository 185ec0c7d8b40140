"""A line a head, in the width that there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.cli import console
from pipeline.evaluation import Repeats, with_interval
from pipeline.text import printable

Row = Mapping[str, Any]

COLUMNS: dict[str, Callable[[Row], str]] = {
    "accuracy": lambda row: with_interval(row["accuracy"], row.get("accuracy_interval")),
    "over seeds": lambda row: str(Repeats.from_json(row["repeats"])) if row.get("repeats") else "",
    "balanced": lambda row: f"{row['balanced_accuracy']:.4f}",
    "AUC": lambda row: "" if row.get("auc") is None else with_interval(row["auc"], row.get("auc_interval")),
    "test": lambda row: f"{row['test']['accuracy']:.4f}" if row.get("test") else "",
    "seconds": lambda row: f"{row['fit_seconds']:.2f}",
    "parameters": lambda row: f"{row['parameters']:,}",
    "views": lambda row: str(row.get("views", 1)),
}
FIRST_TO_GO = ("parameters", "seconds", "balanced", "views", "test")


def leaderboard(title: str, rows: Sequence[Row], width: int | None = None) -> Table:
    """A line a head, from its metrics; scores with their 95 % intervals, if they have them.

    In a narrow window intervals stand below their scores. If that is not enough, the columns of
    `FIRST_TO_GO` are left out one after the other, and the line below the table names them.

    Parameters
    ----------
    title : str
    rows : sequence of mapping
        The metrics of each head.
    width : int, optional
        Characters in a line; those of the window if not given.
    """
    width = console.out().width if width is None else width
    columns = {name: [cell(row) for row in rows] for name, cell in COLUMNS.items()}
    columns = {name: cells for name, cells in columns.items() if any(cells) and (name, set(cells)) != ("views", {"1"})}
    heads = [str(row["head"]) for row in rows]
    table = _table(title, heads, columns)
    if _width(table) <= width:
        return table
    columns = {name: [_in_two_lines(cell) for cell in cells] for name, cells in columns.items()}
    going = [name for name in FIRST_TO_GO if name in columns]
    for n in range(len(going) + 1):
        table = _table(title, heads, {name: columns[name] for name in columns if name not in going[:n]})
        if _width(table) <= width:
            break
    if n:
        table.caption = Text(f"no room for {', '.join(going[:n])}: `info --json` has them")
    return table


def _table(title: str, heads: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Table:
    table = Table(title=Text(printable(title)), title_justify="left", title_style="bold", header_style="")
    table.caption_justify = "left"
    table.show_lines = any("\n" in cell for cells in columns.values() for cell in cells)
    for name in ("head", *columns):  # where even that is too wide nothing is cut off
        table.add_column(name, justify="left" if name == "head" else "right", overflow="fold")
    for name, *cells in zip(heads, *columns.values(), strict=True):
        table.add_row(Text(printable(name)), *map(Text, cells))
    return table


def _width(table: Table) -> int:
    out = console.out()
    return out.measure(table, options=out.options.update(width=console.WIDE)).maximum


def _in_two_lines(cell: str) -> str:
    return cell.replace(" [", "\n[").replace(" (", "\n(")
