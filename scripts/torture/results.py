"""What each part found, and the one table at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from .children import Outcome
from .oracle import Findings

SHOW_EVERY = 10.0  # seconds
MAX_SHOWN = 5  # broken promises of a part; the JSON has all


@dataclass
class Result:
    """A part of the torture.

    Attributes
    ----------
    tried : Counter
        What was done, how often.
    redone : float, optional
        The most rows that one kill cost, over the rows of a shard.
    broken : list of str
        Promises that were not kept.
    """

    part: str
    tried: Counter[str] = field(default_factory=Counter)
    wrong_rows: int = 0
    bad_files: int = 0
    redone: float | None = None
    crashes: int = 0
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._start = self._last = time.monotonic()

    def expect(self, kept: bool, otherwise: str) -> None:
        """A promise; what it means that it was not kept."""
        if not kept:
            self.broken.append(otherwise)

    def add(self, found: Findings, when: str) -> None:
        """Count what the oracle found wrong."""
        self.wrong_rows += found.wrong_rows
        self.bad_files += len(found.bad_files)
        self.expect(not found.wrong_rows, f"{when}: {found.wrong_rows} wrong rows")
        self.expect(not found.bad_files, f"{when}: {', '.join(found.bad_files)}")

    def ran(self, outcome: Outcome, when: str) -> bool:
        """A child that was to end well did."""
        self.crashes += outcome.status < 0
        self.expect(outcome.status == 0, f"{when}: ended with {outcome.status}: {last_line(outcome.errors)}")
        return outcome.status == 0

    def show(self, done: int, total: int | None = None) -> None:
        """Progress, now and then."""
        if time.monotonic() - self._last > SHOW_EVERY or done == total:
            self._last = time.monotonic()
            of_total = "" if total is None else f" of {total}"
            print(f"{self.part}: {done}{of_total}, {len(self.broken)} broken", file=sys.stderr, flush=True)

    def done(self) -> Result:
        """Take the time."""
        self.seconds = round(time.monotonic() - self._start, 1)
        return self

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**{one.name: getattr(self, one.name) for one in fields(self)}, "verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """One word."""
        return f"BROKEN ({len(self.broken)})" if self.broken else "kept"


def last_line(text: str) -> str:
    """What a process said last."""
    return (text.strip().splitlines() or ["nothing said"])[-1]


def table(results: list[Result]) -> str:
    """A Markdown table, a line a part, and below it what was broken or is worth knowing."""
    lines = ["| part | tried | wrong rows | bad final files | redone, shards a kill | crashes | seconds | promises |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for one in results:
        tried = ", ".join(f"{n:,} {what}" for what, n in one.tried.items())
        redone = "" if one.redone is None else f"{one.redone:.2f}"
        cells = [one.part, tried, one.wrong_rows, one.bad_files, redone, one.crashes, one.seconds, one.verdict]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    for one in results:
        lines += [f"{one.part}: {note}" for note in one.notes]
        lines += [f"BROKEN {one.part}: {text}" for text in one.broken[:MAX_SHOWN]]
    return "\n".join(lines)
