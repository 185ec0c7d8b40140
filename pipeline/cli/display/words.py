"""Words that more than one verb says of stores and what was found in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from pipeline.cli import console
from pipeline.store import FeatureStore
from pipeline.text import counted, printable

if TYPE_CHECKING:
    from pipeline.duplicates import Duplicates
    from pipeline.training.saved_heads import SavedHead

MAX_LISTED = 20  # bad or skipped files that are named


def duplicates_words(counts: Mapping[str, int | None]) -> str:
    """What `Duplicates.counts()` says, for a person."""
    near, hint = f", {counts['near']} near", ""
    if counts["near"] is None:
        near, hint = "", "; near ones were not looked for, `duplicates` does"
    exact = counted(counts["exact"] or 0, "exact pair")
    return f"{exact}{near}, {counts['across_splits']} across splits, {counts['two_labels']} under two labels{hint}"


def warn_of_leaks(found: Duplicates, directory: Path) -> None:
    """Say it loudly if a head is scored on pictures that it was trained on."""
    if leaks := found.across_splits:
        console.warn(
            f"{counted(len(leaks), 'pair')} of duplicates across splits, such as {' and '.join(leaks[0].ids)}: "
            f"the scores flatter; see `python -m pipeline duplicates {directory}`"
        )


def warn_of_heads(heads: Iterable[SavedHead], store: Path) -> None:
    """A line a problem, with the heads that have it."""
    names: dict[str, list[str]] = {}
    for head in heads:
        if head.problem:
            names.setdefault(head.problem, []).append(head.name)
    for problem, having in names.items():
        console.warn(f"{', '.join(having)}: {problem}; train again with `python -m pipeline heads {store}`")


def list_some(heading: str, lines: Sequence[str]) -> None:
    """The first lines of a list, on standard error."""
    for line in lines[:MAX_LISTED]:
        console.err().print(Text(printable(f"{heading}: {line}")))
    if len(lines) > MAX_LISTED:
        console.err().print(f"{heading}: ... and {len(lines) - MAX_LISTED} more")


def weights_words(store: FeatureStore) -> str:
    """Which weights, for a person."""
    weights = str(store.manifest.sources["weights"])
    return {"imagenet": "ImageNet weights", "random": "RANDOM weights"}.get(weights, f"weights of {weights}")


def precision_words(precision: str, error: Mapping[str, Any]) -> str:
    """What a shorter float costs, for a person."""
    return f"{precision}: relative L2 error {error['relative_l2']:.1e} against float32 on {error['images']} images"


def warn_random_weights() -> None:
    """Loudly: a conv base that was never trained."""
    console.warn(
        "RANDOM WEIGHTS: this conv base has never seen a photo. Fine for trying the pipeline; "
        "for results go online once for the ImageNet weights, or give --weights FILE."
    )
