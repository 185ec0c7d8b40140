"""Sentences and a table that several verbs print about a store, its heads and its duplicates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli import console
from pipeline.text import COMMAND, counted

if TYPE_CHECKING:
    from pipeline.images.table import ImageTable
    from pipeline.store import FeatureStore
    from pipeline.training.saved_heads import SavedHead


def describe_duplicates(counts: Mapping[str, int | None]) -> str:
    """Describe the numbers of `Duplicates.counts()`."""
    near, hint = f", {counts['near']} near", ""
    if counts["near"] is None:
        near, hint = "", "; near duplicates are not known, `duplicates` finds them"
    exact = counted(counts["exact"] or 0, "exact pair")
    return f"{exact}{near}, {counts['across_splits']} across splits, {counts['two_labels']} under two labels{hint}"


def describe_precision(precision: str, error: Mapping[str, Any]) -> str:
    """Describe the measured error of a precision."""
    text = f"{precision}: relative L2 error {error['relative_l2']:.1e} against float32 on {error['images']} images"
    if precision != "int8":
        return text
    rates = error["images_per_second"], error["float32_images_per_second"]
    return (
        f"{text}, cosine of pooled features {error['cosine']:.3f}; conv base alone {rates[0]:.0f} images/s, "
        f"{rates[1]:.0f} in float32; calibrated on {error['calibrated']} images"
    )


def print_classes(images: ImageTable) -> None:
    """Print the number of images of each class in each split that has images."""
    from pipeline.images.table import SPLITS

    counts = images.counts()
    splits = [i for i in range(len(SPLITS)) if counts[:, i].any()]
    rows = [[name, *(str(row[i]) for i in splits)] for name, row in zip(images.classes, counts, strict=True)]
    if (hidden := len(rows) - console.MAX_LISTED) > 0:
        rows[console.MAX_LISTED :] = [[f"... {hidden} more", *("" for _ in splits)]]
    rows.append(["all", *(str(counts[:, i].sum()) for i in splits)])
    console.print_table(["class", *(SPLITS[i] for i in splits)], rows, numbers=True)


def warn_of_leaks(store: FeatureStore) -> None:
    """Warn that heads are scored on pictures that they, or their conv base, were trained on, if they are."""
    from pipeline.duplicates import known_duplicates

    if leaks := known_duplicates(store).across_splits:
        console.warn(
            f"{counted(len(leaks), 'pair')} of duplicates across splits, such as {' and '.join(leaks[0].ids)}: "
            f"the scores are too high; see `{COMMAND} duplicates {store.directory}`"
        )
    warn_of_scored_train_images(store)


def warn_of_scored_train_images(store: FeatureStore) -> None:
    """Warn that validation or test images are train images of a conv base from `train-base`, if they are."""
    from pipeline.base_training.train_images import scored_train_images

    for split in ("validation", "test"):
        if ids := scored_train_images(store, split):
            console.warn(
                f"the conv base was trained on {counted(len(ids), f'{split} image')} of {store.directory}, such as "
                f"{ids[0]}: scores on them are too high; give `features` the --validation and --test of `train-base`"
            )


def warn_of_heads(heads: Iterable[SavedHead], store: Path) -> None:
    """Warn of heads with a problem, one line per problem."""
    problems = {head.name: head.problem for head in heads if head.problem}
    for problem in dict.fromkeys(problems.values()):
        names = ", ".join(name for name in problems if problems[name] == problem)
        console.warn(f"{names}: {problem}; train again with `{COMMAND} heads {store}`")


def warn_of_random_weights(store: FeatureStore) -> None:
    """Warn if the conv base of a store was never trained."""
    if store.random_weights:
        console.warn(
            "RANDOM WEIGHTS: this conv base has never seen a photo. It serves to try the pipeline; for results "
            "use the ImageNet weights, where Keras has them, train it with `train-base`, or give --weights FILE."
        )
