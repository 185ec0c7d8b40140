"""`PredictionCounts`: the progress and the summary of `predict`."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.cli import console
from pipeline.cli.display.progress import StepProgress


class PredictionCounts:
    """Counts the lines of `predict` and names the first images that cannot be used.

    Parameters
    ----------
    total : int, optional
        Number of images; None if it is not known before.
    bar : bool
        Whether progress is shown.

    Attributes
    ----------
    done, bad, unknown : int
        Lines so far; lines with an error; lines with an unknown image.
    labels : Counter of str
    """

    def __init__(self, total: int | None, *, bar: bool):
        self.total, self.bar = total, bar
        self.done = self.bad = self.unknown = 0
        self.labels: Counter[str] = Counter()
        self._progress: StepProgress | None = None

    @contextlib.contextmanager
    def progress(self) -> Iterator[None]:
        """Show the progress of the lines that are added in the body; earlier lines took no time."""
        if not self.bar:
            yield
            return
        self._earlier = self.done
        self._progress = StepProgress("predict", None if self.total is None else self.total - self.done, "images")
        try:
            yield
        finally:
            self._progress.close()

    def add(self, cells: Sequence[str]) -> None:
        """Count a line."""
        path, label, *_, unknown, error = cells
        self.done += 1
        if self._progress is not None:
            self._progress.update(self.done - self._earlier)
        if not error:
            self.labels[label] += 1
            self.unknown += unknown == str(True)
            return
        self.bad += 1
        if self.bad <= console.MAX_LISTED:
            console.note(f"left out: {path}: {error}")

    def summary(self) -> str:
        """Return the numbers of images, labels and unknown images in words."""
        labels = ", ".join(f"{name} {n}" for name, n in self.labels.most_common(console.MAX_LISTED))
        parts = [f"labelled {self.done - self.bad} of {self.done} images", *([labels] if labels else [])]
        if self.unknown:
            parts.append(f"{self.unknown} unknown")
        return "; ".join(parts)
