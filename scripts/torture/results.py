"""The result of each part, and the table of all of them."""

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
    """The result of a part.

    Attributes
    ----------
    tried : Counter
        Number of times by what was done.
    redone : float, optional
        Maximum number of rows lost by one kill, divided by the rows of a shard.
    broken : list of str
        Descriptions of broken promises.
    impossible : str
        Why the part cannot run on this machine; then it has no verdict.
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
    impossible: str = ""

    def __post_init__(self) -> None:
        self._start = self._last = time.monotonic()

    def expect(self, holds: bool, problem: str) -> None:
        """Record a broken promise, unless it holds."""
        if not holds:
            self.broken.append(problem)

    def add(self, found: Findings, when: str) -> None:
        """Count the faults that the oracle found."""
        self.wrong_rows += found.wrong_rows
        self.bad_files += len(found.bad_files)
        self.expect(not found.wrong_rows, f"{when}: {found.wrong_rows} wrong rows")
        self.expect(not found.bad_files, f"{when}: {', '.join(found.bad_files)}")

    def ran(self, outcome: Outcome, when: str) -> bool:
        """Check that a child ended with status 0; return whether it did."""
        self.crashes += outcome.status < 0
        self.expect(outcome.status == 0, f"{when}: ended with {outcome.status}: {last_line(outcome.errors)}")
        return outcome.status == 0

    def show(self, done: int, total: int | None = None) -> None:
        """Print the progress, at most every `SHOW_EVERY` seconds."""
        if time.monotonic() - self._last > SHOW_EVERY or done == total:
            self._last = time.monotonic()
            of_total = "" if total is None else f" of {total}"
            print(f"{self.part}: {done}{of_total}, {len(self.broken)} broken", file=sys.stderr, flush=True)

    def done(self) -> Result:
        """Stop the time; return the result."""
        self.seconds = round(time.monotonic() - self._start, 1)
        return self

    def to_json(self) -> dict[str, Any]:
        """Return all fields and the verdict."""
        return {**{field.name: getattr(self, field.name) for field in fields(self)}, "verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """`kept`, the number of broken promises, or why there is no verdict."""
        if self.impossible:
            return f"not possible here: {self.impossible}"
        return f"BROKEN ({len(self.broken)})" if self.broken else "kept"


def last_line(text: str) -> str:
    """Return the last line of the output of a process."""
    return (text.strip().splitlines() or ["no output"])[-1]


def has_one_error_line(outcome: Outcome) -> bool:
    """Return whether the last line of a command, and no other one, is that of an error."""
    lines = outcome.errors.splitlines()
    errors = [line for line in lines if line.startswith("pipeline: ")]
    return len(errors) == 1 and lines[-1] == errors[0] and "Traceback" not in outcome.errors


def table(results: list[Result]) -> str:
    """Return a Markdown table with a line per part, followed by notes and broken promises."""
    lines = ["| part | tried | wrong rows | bad final files | redone, shards per kill | crashes | seconds | promises |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for part in results:
        tried = ", ".join(f"{n:,} {what}" for what, n in part.tried.items())
        redone = "" if part.redone is None else f"{part.redone:.2f}"
        cells = [part.part, tried, part.wrong_rows, part.bad_files, redone, part.crashes, part.seconds, part.verdict]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    for part in results:
        lines += [f"{part.part}: {note}" for note in part.notes]
        lines += [f"BROKEN {part.part}: {text}" for text in part.broken[:MAX_SHOWN]]
    return "\n".join(lines)
