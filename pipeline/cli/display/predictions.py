"""`PredictionCounts`: the summary of `predict`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.cli import console


class PredictionCounts:
    """Counts the lines of `predict` and names the first images that cannot be used."""

    def __init__(self) -> None:
        self.done = self.bad = self.unknown = 0  # all lines, those with an error, those with an unknown image
        self.labels: Counter[str] = Counter()

    def add(self, cells: Sequence[str]) -> None:
        """Count a line."""
        path, label, *_, unknown, error = cells
        self.done += 1
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
