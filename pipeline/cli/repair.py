"""`repair`: compute bad shards again."""

from __future__ import annotations

import argparse

from pipeline.cli import console, display
from pipeline.maintenance.repair import repair_store
from pipeline.text import counted


def run(options: argparse.Namespace) -> int:
    """Compute bad shards again."""
    with display.ConsoleCallbacks() as callbacks:
        report = repair_store(
            options.store, batch_size=options.batch_size, workers=options.workers, callbacks=callbacks
        )
    for name, problem in report.problems.items():
        console.say(f"{name} {problem}")
    for path in report.quarantined:
        console.say(f"moved to {path}")
    display.list_some("without features now", [f"{one.id}: {one.reason}" for one in report.lost])
    console.say(f"computed {counted(report.rows, 'row')} again" if report.rows else "nothing to repair")
    return 1 if report.lost else 0
