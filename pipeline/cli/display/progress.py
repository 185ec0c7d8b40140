"""`StepProgress`: how far a step is and how fast it goes."""

import sys
import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.cli import console
from pipeline.text import format_duration

LOG_SECONDS = 10.0  # between two lines in a log
BAR_SECONDS = 0.1  # between two updates of a bar
MIN_SECONDS = 1.0  # a shorter time gives no meaningful rate


class StepProgress:
    """A bar on a terminal, or a line every ten seconds in a log; without a `total` no remaining time is shown."""

    def __init__(self, step: str, total: int | None, unit: str):
        self.step, self.total, self.unit = step, total, unit
        self.done = 0
        self._done_shown = 0
        self.detail = ""  # added to the rate
        self.start = self.last_shown = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            rate = TextColumn("{task.fields[rate]}")
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()
            self.bar = Progress(*columns, console=console.stderr())
            self.task = self.bar.add_task(step, total=total, rate="")
            self.bar.start()

    def update(self, done: int) -> None:
        """Set the number of units done so far."""
        self.done = done
        if time.monotonic() - self.last_shown >= (LOG_SECONDS if self.bar is None else BAR_SECONDS):
            self._show()

    def close(self) -> None:
        """Show the last state and remove the bar from the console's control."""
        is_shown = self.bar is None and self.done == self._done_shown
        if self.done and not is_shown and (self.bar is not None or time.monotonic() - self.start >= MIN_SECONDS):
            self._show()
        if self.bar is not None:
            self.bar.stop()

    def seconds(self) -> float:
        """Return the seconds since the start, more than 0."""
        return max(time.monotonic() - self.start, 1e-9)

    def units_per_second(self) -> float:
        """Return the mean rate since the start."""
        return self.done / self.seconds()

    def _show(self) -> None:
        self.last_shown, self._done_shown = time.monotonic(), self.done
        seconds, rate = self.last_shown - self.start, self.units_per_second()
        rate_text = f"{rate:.1f} {self.unit}/s{self.detail}" if seconds >= MIN_SECONDS else ""
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, rate=rate_text)
            return
        total, end = "", ""
        if self.total is not None:
            total = f"/{self.total}"
            left = (self.total - self.done) / max(rate, 1e-9)
            end = f", {format_duration(left)} left" if left else f", took {format_duration(seconds)}"
        console.note(f"{self.step}: {self.done}{total} {self.unit}, {rate_text}{end}")
