"""Words and bars for a person at a terminal; plain lines where there is none."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from pipeline.plan import Changes, Plan
from pipeline.progress import Progress
from pipeline.spec import ConvBaseSpec
from pipeline.store import FeatureStore
from pipeline.table import SPLITS, ImageTable

if TYPE_CHECKING:
    from pipeline.train import TrainedHead
    from pipeline.verify import Finding

WIDE = 200  # characters, where nobody's window sets a limit
LINE_EVERY = 10.0  # seconds between lines in a log
BAR_EVERY = 0.1  # seconds between two looks of a bar
MOST_LISTED = 20  # bad or skipped files that are named


def out() -> Console:
    """Where results go: standard output."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)


def err() -> Console:
    """Where progress goes: standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else WIDE)


def say(text: str) -> None:
    """One line on standard output; brackets and odd file names are printed as they are."""
    out().print(Text(printable(text)))


def printable(text: str) -> str:
    """Text that any terminal can show: what is not UTF-8 and what controls a terminal is escaped."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


class Meter:
    """A bar on a terminal, a line now and then in a log."""

    def __init__(self, what: str, total: int, unit: str):
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self.start = self.last_shown = time.monotonic()
        self.bar: Bar | None = None
        if sys.stderr.isatty():
            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
            self.bar = Bar(*columns, TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=err())
            self.task = self.bar.add_task(what, total=total, rate="")
            self.bar.start()

    def advance(self, to: int) -> None:
        """So much is done."""
        self.done = to
        now = time.monotonic()
        if now - self.last_shown >= (LINE_EVERY if self.bar is None else BAR_EVERY):
            self.last_shown = now
            self._show(now)

    def close(self) -> None:
        """The step is over, at its end or not."""
        if self.done:
            self._show(time.monotonic())
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _rate(self, now: float) -> float:
        return self.done / max(now - self.start, 1e-9)

    def _show(self, now: float) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, rate=f"{self._rate(now):.1f} {self.unit}/s")
            return
        left = (self.total - self.done) / max(self._rate(now), 1e-9)
        print(
            f"{self.what}: {self.done}/{self.total} {self.unit}, {self._rate(now):.1f} {self.unit}/s, "
            f"{duration(left)} left",
            file=sys.stderr,
            flush=True,
        )


@contextlib.contextmanager
def meters() -> Iterator[Callable[[str, int, int], None]]:
    """A function to call with a unit, `files`, how many are read and of how many; each unit has its meter."""
    running: dict[str, Meter] = {}

    def on_progress(unit: str, done: int, total: int) -> None:
        if unit not in running:
            running[unit] = Meter("reading", total, unit)
        running[unit].advance(done)
        if done >= total:  # two bars at a time would draw over one another
            running.pop(unit).close()

    try:
        yield on_progress
    finally:
        for meter in running.values():
            meter.close()


class ConsoleProgress(Progress):
    """Shows stage one on the console."""

    def __init__(self) -> None:
        self.meter: Meter | None = None
        self.done = 0
        self.bad = 0
        self.computed = 0

    def found(self, changes: Changes) -> None:
        """Say it in short: added, changed, removed."""
        if changes:
            say(f"changes    {changes}")

    def loading(self, spec: ConvBaseSpec) -> None:
        """Say so, and keep TensorFlow's own start-up lines away."""
        download = (
            " (its ImageNet weights are downloaded on first use)"
            if spec.weights == "imagenet" and not spec.is_file
            else ""
        )
        print(f"loading {spec.conv_base}{download} ...", file=sys.stderr, flush=True)
        start_tensorflow_quietly()

    def planned(self, plan: Plan, store: FeatureStore) -> None:
        """Say what will be done."""
        spec, manifest = store.spec, store.manifest
        height, width = spec.height_width
        cut = f" cut at {spec.cut}" if spec.cut else ""
        say(f"conv base  {manifest.spec['conv_base']}{cut}, {height}x{width}, {spec.precision}, {weights_words(store)}")
        say(
            f"features   {store.feature_shape} {store.dtype}: {plan.rows_pending} forward passes to make, "
            f"{size(plan.rows_pending * store.bytes_per_row)} to write; {plan.images_cached} images cached already"
        )
        if store.random_weights:
            warn_random_weights()
        self.computed = plan.rows_pending
        self.meter = Meter("features", plan.rows_pending, "images")

    def image_done(self) -> None:
        """Move the bar."""
        self.done += 1
        if self.meter is not None:
            self.meter.advance(self.done)

    def bad_image(self, id: str, reason: str) -> None:
        """Name the first few."""
        self.bad += 1
        if self.bad <= MOST_LISTED:
            err().print(Text(printable(f"left out: {id}: {reason}")))

    def close(self) -> None:
        """The step is over, at its end or not."""
        if self.meter is not None:
            self.meter.close()
            self.meter = None


class HeadsProgress:
    """Shows stage two on the console: a line a head, and a bar for one that trains in epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.meter: Meter | None = None
        self.name = ""

    def start(self, name: str) -> None:
        """A head is about to be trained."""
        self.name = name
        print(f"training {name} ...", file=sys.stderr, flush=True)

    def epoch(self, epoch: int, scores: Any) -> None:
        """An epoch, counted from 1, is over."""
        self.meter = self.meter or Meter(self.name, self.epochs, "epochs")
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


def show_info(document: dict[str, Any]) -> None:
    """What a store holds, for a person."""
    spec, sources = document["spec"], document["sources"]
    say(
        f"store       {document['directory']}: {document['with_features']} of {document['images']} images have features"
    )
    say(f"features    {tuple(document['feature_shape'])} {spec['store_dtype']}, {size(document['bytes'])} on disk")
    say(f"conv base   {sources['conv_base']} at {spec['size'][0]}x{spec['size'][1]}, {spec['precision']}")
    say(f"weights     {sources['weights']}, sha256 {spec['weights_sha256'][:12]}")
    say(f"fingerprint {document['fingerprint'][:12]}, {document['shards']} shards")
    if document["pending"]:
        warn(f"{document['pending']} images wait for features: run `features` again")
    if document["random_weights"]:
        warn_random_weights()
    list_some("without features", [f"{one['id']}: {one['reason']}" for one in document["bad"]])
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="")
    table.add_column("class")
    for name in SPLITS:
        table.add_column(name, justify="right")
    for name, counts in list(document["classes"].items())[:MOST_LISTED]:
        table.add_row(Text(printable(name)), *(str(n) for n in counts.values()))
    out().print(table)
    if document["heads"]:
        rows = sorted(document["heads"], key=lambda row: -row["accuracy"])
        out().print(leaderboard("heads, on validation images", rows))


def show_findings(looked_at: str, findings: Sequence[Finding], directory: Path) -> int:
    """What a check found and what to do about it; returns the exit status."""
    for finding in findings:
        say(f"{finding.what}: {finding.problem}")
    say(f"{looked_at}: {counted(len(findings), 'finding') if findings else 'nothing wrong'}")
    for remedy in dict.fromkeys(finding.remedy for finding in findings):
        say(f"what to do: {remedy.format(directory)}")
    return 1 if findings else 0


def weights_words(store: FeatureStore) -> str:
    """Which weights, for a person."""
    weights = str(store.manifest.sources["weights"])
    return {"imagenet": "ImageNet weights", "random": "RANDOM weights"}.get(weights, f"weights of {weights}")


def warn(text: str) -> None:
    """One line on standard error that is not to be missed."""
    err().print(Text(printable(text), style="bold red"))


def warn_random_weights() -> None:
    """Loudly: a conv base that was never trained."""
    warn(
        "RANDOM WEIGHTS: this conv base has never seen a photo. Fine for trying the pipeline; "
        "for results go online once for the ImageNet weights, or give --weights FILE."
    )


def show_images(images: ImageTable, source: str) -> None:
    """How many images of each class and split there are, and what was passed over."""
    say(f"images     {len(images)} in {source}")
    shown = [index for index in range(len(SPLITS)) if (images.split_codes == index).any()]
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="")
    table.add_column("class")
    for index in shown:
        table.add_column(SPLITS[index], justify="right")
    counts = images.counts()
    for name, row in list(zip(images.classes, counts, strict=True))[:MOST_LISTED]:
        table.add_row(Text(printable(name)), *(str(row[index]) for index in shown))
    if len(images.classes) > MOST_LISTED:
        table.add_row(f"... {len(images.classes) - MOST_LISTED} more", *("" for _ in shown))
    table.add_row("all", *(str(counts[:, index].sum()) for index in shown))
    out().print(table)
    list_some("passed over", [f"{path} {reason}" for path, reason in images.skipped])


def list_some(heading: str, lines: Sequence[str]) -> None:
    """The first lines of a list, on standard error."""
    for line in lines[:MOST_LISTED]:
        err().print(Text(printable(f"{heading}: {line}")))
    if len(lines) > MOST_LISTED:
        err().print(f"{heading}: ... and {len(lines) - MOST_LISTED} more")


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


def counted(n: int, noun: str) -> str:
    """A number of things: `1 row`, `2 rows`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def size(n: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for a person."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def start_tensorflow_quietly() -> None:
    """Import TensorFlow with its native start-up lines sent to nowhere; Python's errors still arrive."""
    if "tensorflow" in sys.modules:
        return
    with _without_native_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.zeros(1)  # the rest of the lines come with the first operation


@contextlib.contextmanager
def _without_native_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
