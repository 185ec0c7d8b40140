"""`PredictionCounts`: the progress and the summary of `predict`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.cli import console
from pipeline.cli.display.callbacks import ConsoleCallbacks


class PredictionCounts:
    """Counts the lines of `predict` and names the first images that cannot be used.

    Parameters
    ----------
    total : int, optional
        Number of images; None if it is not known in advance.
    callbacks : ConsoleCallbacks, optional
        Shows the progress; None shows no progress.

    Attributes
    ----------
    done, bad, unknown : int
        Lines so far; lines with an error; lines with an unknown image.
    labels : Counter of str
    """

    def __init__(self, total: int | None, callbacks: ConsoleCallbacks | None):
        self.total, self.callbacks = total, callbacks
        self.done = self.bad = self.unknown = 0
        self.labels: Counter[str] = Counter()
        self._first: int | None = None  # line from which progress is shown

    def start_progress(self) -> None:
        """Show the progress of the lines that follow; earlier lines are of an interrupted run."""
        self._first = self.done
        self._show_progress()

    def add(self, cells: Sequence[str]) -> None:
        """Count a line."""
        path, label, *_, unknown, error = cells
        self.done += 1
        self._show_progress()
        if not error:
            self.labels[label] += 1
            self.unknown += unknown == str(True)
            return
        self.bad += 1
        if self.bad <= console.MAX_LISTED:
            console.note(f"left out: {path}: {error}")

    def _show_progress(self) -> None:
        if self.callbacks is not None and self._first is not None:
            total = None if self.total is None else self.total - self._first
            self.callbacks.progress("predict", self.done - self._first, total, "images")

    def summary(self) -> str:
        """Return the numbers of images, labels and unknown images in words."""
        labels = ", ".join(f"{name} {n}" for name, n in self.labels.most_common(console.MAX_LISTED))
        parts = [f"labelled {self.done - self.bad} of {self.done} images", *([labels] if labels else [])]
        if self.unknown:
            parts.append(f"{self.unknown} unknown")
        return "; ".join(parts)
