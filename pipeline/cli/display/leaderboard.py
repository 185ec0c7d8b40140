"""The leaderboard: one row per head, in the width of the window."""

import re
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
DROPPED_FIRST = ("parameters", "seconds", "balanced", "views", "test")


def print_leaderboard(title: str, rows: Sequence[Row]) -> None:
    """Print the leaderboard on standard output, and name the heads whose scores are optimistic."""
    out = console.stdout()
    out.print(leaderboard(title, rows, out.width))
    if optimistic := [str(row["head"]) for row in rows if row.get("epoch_chosen_on") == "validation"]:
        console.say(
            f"{', '.join(optimistic)}: the epoch was chosen on the validation images, "
            "so these scores are slightly optimistic"
        )


def leaderboard(title: str, rows: Sequence[Row], width: int) -> Table:
    """Return a table with one row per head; a row holds the metrics of a head.

    If the window is too narrow, intervals stand below their scores. If that is not enough, the
    columns in `DROPPED_FIRST` are left out one by one, and a line below the table names them.
    """
    columns = {name: [cell(row) for row in rows] for name, cell in COLUMNS.items()}
    columns = {name: cells for name, cells in columns.items() if any(cells) and (name, set(cells)) != ("views", {"1"})}
    narrow = {name: [re.sub(r" (?=[\[(])", "\n", cell) for cell in cells] for name, cells in columns.items()}
    droppable = [name for name in DROPPED_FIRST if name in columns]
    options = console.stdout().options.update(width=console.WIDTH_OF_A_LOG)
    for n in range(-1, len(droppable) + 1):  # -1: as wide as the cells are
        shown = {name: narrow[name] for name in narrow if name not in droppable[:n]} if n >= 0 else columns
        table = Table(title=Text(printable(title)), title_justify="left", title_style="bold", header_style="")
        table.caption_justify = "left"
        table.show_lines = any("\n" in cell for cells in shown.values() for cell in cells)
        for name in ("head", *shown):  # a cell that is still too wide is folded, not cut off
            table.add_column(name, justify="left" if name == "head" else "right", overflow="fold")
        for row, *cells in zip(rows, *shown.values(), strict=True):
            table.add_row(Text(printable(str(row["head"]))), *map(Text, cells))
        if console.stdout().measure(table, options=options).maximum <= width:
            break
    if n > 0:
        table.caption = Text(f"no room for {', '.join(droppable[:n])}: `info --json` has them")
    return table
