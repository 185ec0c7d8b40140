"""What the command line shows of images, stores and heads."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pipeline import console
from pipeline.augment import View
from pipeline.plan import Changes, Plan
from pipeline.progress import Progress
from pipeline.scoring import with_interval
from pipeline.spec import ConvBaseSpec
from pipeline.store import FeatureStore
from pipeline.table import SPLITS, ImageTable

if TYPE_CHECKING:
    from pipeline.agreement import Agreement
    from pipeline.similar import Duplicates
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
        self.of_views = 0  # forward passes, once the views are computed

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

    def too_coarse(self, precision: str, error: Mapping[str, Any]) -> None:
        """Say why it is float32."""
        console.say(
            f"precision  {precision_words(precision, error)} is too much: float32; --precision {precision} insists"
        )

    def planned(self, plan: Plan, store: FeatureStore) -> None:
        """Say what will be done."""
        self.computed += plan.rows_pending
        if self.of_views:
            self.meter = self.meter or console.Meter("views", self.of_views, "images")
            return
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
        self.meter = console.Meter("features", plan.rows_pending, "images")

    def views_dropped(self, count: int) -> None:
        """Say so."""
        console.say(f"views      {console.counted(count, 'augmented copy', 'augmented copies')} of each image deleted")

    def views_planned(self, views: Sequence[View], passes: int, store: FeatureStore) -> None:
        """Say what will be done, and how long it takes if the pace of the images is known."""
        rate = self.meter.rate() if self.meter is not None else 0
        self.close()
        console.say(
            f"views      {console.counted(len(views), 'augmented copy', 'augmented copies')} of "
            f"{len(store.members('train'))} train images ({views[0].augmentation}): {passes} forward passes to make, "
            f"{console.size(passes * store.bytes_per_row)} to write"
            + (f", about {console.duration(passes / rate)}" if rate else "")
        )
        self.of_views, self.done = passes, 0

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
        """A head is about to be trained, perhaps again with another seed."""
        self.close()
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
    console.say(f"duplicates  {duplicates_words(document['duplicates'])}")
    if document["views"]:
        copies = console.counted(len(document["views"]), "augmented copy", "augmented copies")
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
    """A line a head, from its metrics; scores with their 95 % intervals, if they have them."""
    with_auc = any(row.get("auc") is not None for row in rows)
    with_test = any(row.get("test") for row in rows)
    with_repeats = any(row.get("repeats") for row in rows)
    with_views = any(row.get("views", 1) > 1 for row in rows)
    table = Table(title=Text(title), title_justify="left", title_style="bold", header_style="")
    table.add_column("head")
    columns = ["accuracy", *(["over seeds"] if with_repeats else []), "balanced"]
    columns += [*(["AUC"] if with_auc else []), *(["test"] if with_test else [])]
    for name in (*columns, "seconds", "parameters", *(["views"] if with_views else [])):
        table.add_column(name, justify="right", overflow="fold")  # in a narrow window nothing is cut off
    for row in rows:
        accuracy = with_interval(row["accuracy"], row.get("accuracy_interval"))
        scores = [accuracy, *([_over_seeds(row)] if with_repeats else []), f"{row['balanced_accuracy']:.4f}"]
        if with_auc:
            scores.append("" if row["auc"] is None else with_interval(row["auc"], row.get("auc_interval")))
        if with_test:
            scores.append(f"{row['test']['accuracy']:.4f}" if row.get("test") else "")
        views = [str(row.get("views", 1))] if with_views else []
        table.add_row(row["head"], *scores, f"{row['fit_seconds']:.2f}", f"{row['parameters']:,}", *views)
    return table


def duplicates_words(counts: Mapping[str, int | None]) -> str:
    """What `Duplicates.counts()` says, for a person."""
    near, hint = f", {counts['near']} near", ""
    if counts["near"] is None:
        near, hint = "", "; near ones were not looked for, `duplicates` does"
    exact = console.counted(counts["exact"] or 0, "exact pair")
    return f"{exact}{near}, {counts['across_splits']} across splits, {counts['two_labels']} under two labels{hint}"


def warn_of_leaks(found: Duplicates, directory: Path) -> None:
    """Say it loudly if a head is scored on pictures that it was trained on."""
    if leaks := found.across_splits:
        console.warn(
            f"{console.counted(len(leaks), 'pair')} of duplicates across splits, such as {' and '.join(leaks[0].ids)}: "
            f"the scores flatter; see `python -m pipeline duplicates {directory}`"
        )


def _over_seeds(row: dict[str, Any]) -> str:
    repeats = row.get("repeats")
    if not repeats:
        return ""
    if len(repeats["seeds"]) < 2:
        return "no spread"
    return f"{repeats['mean']:.4f} ± {repeats['std']:.4f} ({repeats['min']:.3f}-{repeats['max']:.3f})"


def show_agreement(file: str, agreement: Agreement, precision: str) -> int:
    """How near an exported model comes to features and head; returns the exit status."""
    console.say(
        f"{file} against features and head on {console.counted(agreement.images, 'image')}: the largest difference in "
        f"a probability is {agreement.largest:.1e}, the median {agreement.median:.1e}; "
        f"{agreement.other_labels} other labels"
    )
    if agreement.holds:
        return 0
    console.warn(f"that is more than {precision} explains: {agreement.bound:g}, or a tenth of it in the median")
    return 1


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
