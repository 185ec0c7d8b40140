"""The comparison of conv bases: a page of its own, and a section of the report of each of its stores."""

from __future__ import annotations

import time
from typing import Any

from pipeline import __version__
from pipeline.comparison import ComparedRow, Comparison, read_comparison
from pipeline.comparison.picture import draw_comparison, draw_picture
from pipeline.files.durable import write_durably
from pipeline.report.environment import environment
from pipeline.report.svg import draw_svg
from pipeline.store import FeatureStore
from pipeline.text import format_duration

PAGE, PICTURE = "comparison.html", "comparison.png"


def write_comparison(comparison: Comparison) -> None:
    """Write `comparison.html`, one page with table, picture and advice, and `comparison.png` beside its stores.

    The page needs no network and has no scripts. An OSError says that the disk is full or fails.
    """
    context = {
        **comparison_context(comparison),
        "title": f"Comparison of conv bases: {comparison.directory.resolve().name}",
        "date_of_report": time.strftime("%d %B %Y, %H:%M UTC", time.gmtime()),
        "release": __version__,
    }
    page = environment().get_template("comparison_page.html").render(context)
    write_durably(comparison.directory / PAGE, page.encode())
    if picture := draw_picture(comparison.rows):
        write_durably(comparison.directory / PICTURE, picture)


def find_comparison(store: FeatureStore) -> Comparison | None:
    """Return the comparison that a store is part of, which lies in the directory above it."""
    directory = store.directory.resolve()
    comparison = read_comparison(directory.parent)
    if comparison is None or directory.name not in {row.name for row in comparison.rows}:
        return None
    return comparison


def comparison_context(comparison: Comparison) -> dict[str, Any]:
    """Return what the template of the section needs."""
    figure = draw_svg(
        lambda axes: draw_comparison(axes, comparison.rows),
        f"accuracy of {len(comparison.rows)} conv bases against ms an image",
        size=(5.4, 4.0),
    )
    return {"comparison": comparison, "comparison_figure": figure, "seconds_of": seconds_of}


def seconds_of(row: ComparedRow) -> str:
    """Return the time of stage one on all images in words: measured, and estimated behind a `~`."""
    estimated = "" if row.estimated_seconds is None else f"~{format_duration(row.estimated_seconds)}"
    if row.measured_seconds is None:
        return estimated
    return f"{format_duration(row.measured_seconds)} ({estimated})"
