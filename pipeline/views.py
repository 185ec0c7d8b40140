"""What the command line shows of images, stores and heads."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pipeline import console
from pipeline.plan import Changes, Plan
from pipeline.progress import Progress
from pipeline.spec import ConvBaseSpec
from pipeline.store import FeatureStore
from pipeline.table import SPLITS, ImageTable

if TYPE_CHECKING:
    from pipeline.train import TrainedHead
    from pipeline.verify import Finding

MOST_LISTED = 20  # bad or skipped files that are named


class ConsoleProgress(Progress):
    """Shows stage one on the console."""

    def __init__(self) -> None:
        self.meter: console.Meter | None = None
        self.done = 0
        self.bad = 0
        self.computed = 0

    def found(self, changes: Changes) -> None:
        """Say it in short: added, changed, removed."""
        if changes:
            console.say(f"changes    {changes}")

    def loading(self, spec: ConvBaseSpec) -> None:
        """Say so, and keep TensorFlow's own start-up lines away."""
        download = (
            " (its ImageNet weights are downloaded on first use)"
            if spec.weights == "imagenet" and not spec.is_file
            else ""
        )
        print(f"loading {spec.conv_base}{download} ...", file=sys.stderr, flush=True)
        console.start_tensorflow_quietly()

    def planned(self, plan: Plan, store: FeatureStore) -> None:
        """Say what will be done."""
        spec, manifest = store.spec, store.manifest
        height, width = spec.height_width
        cut = f" cut at {spec.cut}" if spec.cut else ""
        console.say(
            f"conv base  {manifest.spec['conv_base']}{cut}, {height}x{width}, {spec.precision}, {weights_words(store)}"
        )
        if manifest.precision_error:
            console.say(f"precision  {precision_words(spec.precision, manifest.precision_error)}")
        console.say(
            f"features   {store.feature_shape} {store.dtype}: {plan.rows_pending} forward passes to make, "
            f"{console.size(plan.rows_pending * store.bytes_per_row)} to write; "
            f"{plan.images_cached} images cached already"
        )
        if store.random_weights:
            warn_random_weights()
        self.computed = plan.rows_pending
        self.meter = console.Meter("features", plan.rows_pending, "images")

    def image_done(self) -> None:
        """Move the bar."""
        self.done += 1
        if self.meter is not None:
            self.meter.advance(self.done)

    def bad_image(self, id: str, reason: str) -> None:
        """Name the first few."""
        self.bad += 1
        if self.bad <= MOST_LISTED:
            console.err().print(Text(console.printable(f"left out: {id}: {reason}")))

    def close(self) -> None:
        """The step is over, at its end or not."""
        if self.meter is not None:
            self.meter.close()
            self.meter = None


class HeadsProgress:
    """Shows stage two on the console: a line a head, and a bar for one that trains in epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.meter: console.Meter | None = None
        self.name = ""

    def start(self, name: str) -> None:
        """A head is about to be trained."""
        self.name = name
        print(f"training {name} ...", file=sys.stderr, flush=True)

    def epoch(self, epoch: int, scores: Any) -> None:
        """An epoch, counted from 1, is over."""
        self.meter = self.meter or console.Meter(self.name, self.epochs, "epochs")
        self.meter.advance(epoch)

    def trained(self, trained: TrainedHead) -> None:
        """A head is saved."""
        self.close()
        print(
            f"trained {trained.name} in {trained.fit_seconds:.1f} s: accuracy {trained.report.accuracy:.4f}",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        """The step is over, at its end or not."""
        if self.meter is not None:
            self.meter.close()
            self.meter = None


def show_images(images: ImageTable, source: str) -> None:
    """How many images of each class and split there are, and what was passed over."""
    console.say(f"images     {len(images)} in {source}")
    shown = [index for index in range(len(SPLITS)) if (images.split_codes == index).any()]
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="")
    table.add_column("class")
    for index in shown:
        table.add_column(SPLITS[index], justify="right")
    counts = images.counts()
    for name, row in list(zip(images.classes, counts, strict=True))[:MOST_LISTED]:
        table.add_row(Text(console.printable(name)), *(str(row[index]) for index in shown))
    if len(images.classes) > MOST_LISTED:
        table.add_row(f"... {len(images.classes) - MOST_LISTED} more", *("" for _ in shown))
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
        f"{console.size(document['bytes'])} on disk"
    )
    console.say(f"conv base   {sources['conv_base']} at {spec['size'][0]}x{spec['size'][1]}, {spec['precision']}")
    if document["precision_error"]:
        console.say(f"precision   {precision_words(spec['precision'], document['precision_error'])}")
    console.say(f"weights     {sources['weights']}, sha256 {spec['weights_sha256'][:12]}")
    console.say(f"fingerprint {document['fingerprint'][:12]}, {document['shards']} shards")
    if document["pending"]:
        console.warn(f"{document['pending']} images wait for features: run `features` again")
    if document["random_weights"]:
        warn_random_weights()
    list_some("without features", [f"{one['id']}: {one['reason']}" for one in document["bad"]])
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="")
    table.add_column("class")
    for name in SPLITS:
        table.add_column(name, justify="right")
    for name, counts in list(document["classes"].items())[:MOST_LISTED]:
        table.add_row(Text(console.printable(name)), *(str(n) for n in counts.values()))
    console.out().print(table)
    if document["heads"]:
        rows = sorted(document["heads"], key=lambda row: -row["accuracy"])
        console.out().print(leaderboard("heads, on validation images", rows))


def show_findings(looked_at: str, findings: Sequence[Finding], directory: Path) -> int:
    """What a check found and what to do about it; returns the exit status."""
    for finding in findings:
        console.say(f"{finding.what}: {finding.problem}")
    console.say(f"{looked_at}: {console.counted(len(findings), 'finding') if findings else 'nothing wrong'}")
    for remedy in dict.fromkeys(finding.remedy for finding in findings):
        console.say(f"what to do: {remedy.format(directory)}")
    return 1 if findings else 0


def leaderboard(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """A line a head, from its metrics."""
    with_auc = any(row.get("auc") is not None for row in rows)
    with_test = any(row.get("test") for row in rows)
    table = Table(title=Text(title), title_justify="left", title_style="bold", header_style="")
    table.add_column("head")
    columns = ["accuracy", "balanced", *(["AUC"] if with_auc else []), *(["test"] if with_test else [])]
    for name in (*columns, "seconds", "parameters"):
        table.add_column(name, justify="right")
    for row in rows:
        scores = [f"{row['accuracy']:.4f}", f"{row['balanced_accuracy']:.4f}"]
        if with_auc:
            scores.append("" if row["auc"] is None else f"{row['auc']:.4f}")
        if with_test:
            scores.append(f"{row['test']['accuracy']:.4f}" if row.get("test") else "")
        table.add_row(row["head"], *scores, f"{row['fit_seconds']:.2f}", f"{row['parameters']:,}")
    return table


def list_some(heading: str, lines: Sequence[str]) -> None:
    """The first lines of a list, on standard error."""
    for line in lines[:MOST_LISTED]:
        console.err().print(Text(console.printable(f"{heading}: {line}")))
    if len(lines) > MOST_LISTED:
        console.err().print(f"{heading}: ... and {len(lines) - MOST_LISTED} more")


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
