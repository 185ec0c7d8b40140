"""Tables and lists of images, stores, heads and findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pipeline.cli import console
from pipeline.cli.display.leaderboard import leaderboard
from pipeline.cli.display.words import (
    MAX_LISTED,
    duplicates_words,
    list_some,
    precision_words,
    warn_random_weights,
)
from pipeline.images.augment import View
from pipeline.images.table import SPLITS, ImageTable
from pipeline.text import counted, format_size, printable

if TYPE_CHECKING:
    from pipeline.export.verify import Agreement
    from pipeline.maintenance.verify import Finding


def show_images(images: ImageTable, source: str) -> None:
    """How many images of each class and split there are, and what was passed over."""
    console.say(f"images     {len(images)} in {source}")
    shown = [index for index in range(len(SPLITS)) if (images.split_codes == index).any()]
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="")
    table.add_column("class")
    for index in shown:
        table.add_column(SPLITS[index], justify="right")
    counts = images.counts()
    for name, row in list(zip(images.classes, counts, strict=True))[:MAX_LISTED]:
        table.add_row(Text(printable(name)), *(str(row[index]) for index in shown))
    if len(images.classes) > MAX_LISTED:
        table.add_row(f"... {len(images.classes) - MAX_LISTED} more", *("" for _ in shown))
    table.add_row("all", *(str(counts[:, index].sum()) for index in shown))
    console.out().print(table)
    list_some("passed over", [f"{path} {reason}" for path, reason in images.skipped])


def show_info(document: dict[str, Any]) -> None:
    """What a store holds, for a person."""
    spec, sources = document["spec"], document["sources"]
    console.say(
        f"store       {document['directory']}: {document['with_features']} of {document['images']} images have features"
    )
    console.say(
        f"features    {tuple(document['feature_shape'])} {spec['store_dtype']}, "
        f"{format_size(document['bytes'])} on disk"
    )
    console.say(f"conv base   {sources['conv_base']} at {spec['size'][0]}x{spec['size'][1]}, {spec['precision']}")
    if document["precision_error"]:
        console.say(f"precision   {precision_words(spec['precision'], document['precision_error'])}")
    console.say(f"weights     {sources['weights']}, sha256 {spec['weights_sha256'][:12]}")
    console.say(f"fingerprint {document['fingerprint'][:12]}, {document['shards']} shards")
    console.say(f"duplicates  {duplicates_words(document['duplicates'])}")
    if document["views"]:
        copies = counted(len(document["views"]), "augmented copy", "augmented copies")
        augmentation = View.of(document["views"][0]["view"]).augmentation
        console.say(f"views       {copies} of each train image: {augmentation}")
    if document["pending"] or any(one["pending"] for one in document["views"]):
        waiting = document["pending"] + sum(one["pending"] for one in document["views"])
        console.warn(f"{waiting} images wait for features: run `features` again")
    if document["random_weights"]:
        warn_random_weights()
    list_some("without features", [f"{one['id']}: {one['reason']}" for one in document["bad"]])
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="")
    table.add_column("class")
    for name in SPLITS:
        table.add_column(name, justify="right")
    for name, counts in list(document["classes"].items())[:MAX_LISTED]:
        table.add_row(Text(printable(name)), *(str(n) for n in counts.values()))
    console.out().print(table)
    if document["heads"]:
        with_scores = [row for row in document["heads"] if "accuracy" in row]
        console.out().print(leaderboard("heads, on validation images", with_scores))


def show_findings(looked_at: str, findings: Sequence[Finding], directory: Path) -> int:
    """What a check found and what to do about it; returns the exit status."""
    for finding in findings:
        console.say(f"{finding.what}: {finding.problem}")
    console.say(f"{looked_at}: {counted(len(findings), 'finding') if findings else 'nothing wrong'}")
    for remedy in dict.fromkeys(finding.remedy for finding in findings):
        console.say(f"what to do: {remedy.format(directory)}")
    return 1 if findings else 0


def show_agreement(file: str, agreement: Agreement, precision: str) -> int:
    """How near an exported model comes to features and head; returns the exit status."""
    console.say(
        f"{file} against features and head on {counted(agreement.images, 'image')}: the largest difference in "
        f"a probability is {agreement.largest:.1e}, the median {agreement.median:.1e}; "
        f"{agreement.other_labels} other labels"
    )
    if agreement.holds:
        return 0
    console.warn(f"that is more than {precision} explains: {agreement.bound:g}, or a tenth of it in the median")
    return 1
