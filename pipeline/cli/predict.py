"""Label new images, one CSV line each; exit status 1 if an image cannot be used."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import defaults
from pipeline.cli import console
from pipeline.cli.display.words import warn_of_random_weights
from pipeline.cli.option_types import COUNT, fraction
from pipeline.cli.shared_options import add_speed_options, select_options
from pipeline.errors import ImagesError
from pipeline.text import format_size

if TYPE_CHECKING:
    from pipeline.extraction.callbacks import Callbacks
    from pipeline.predict.label_images import Predictor
    from pipeline.predict.prediction import Prediction
    from pipeline.store import FeatureStore

STDIN = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `predict`."""
    parser.add_argument("store", metavar="DIR", help="store with trained heads")
    text = "images, folders of any layout, CSV files with column path; - reads paths from standard input, one a line"
    parser.add_argument("images", metavar="IMAGES", nargs="+", help=text)
    parser.add_argument("--head", metavar="NAME", help="a saved head (default: the best validation accuracy)")
    text = (
        "written to FILE.csv.partial-... until all images are labelled, then replaces an older file; the same command "
        "continues an interrupted one (default: standard output)"
    )
    parser.add_argument("--out", metavar="FILE.csv", help=text)
    text = (
        "add the columns distance, to the nearest training images, and unknown: whether the distance exceeds this "
        f"quantile of the distances among training images ({defaults.UNKNOWN} if no number follows)"
    )
    quantile: dict[str, Any] = {"type": _quantile, "nargs": "?", "const": defaults.UNKNOWN, "metavar": "QUANTILE"}
    parser.add_argument("--unknown", **quantile, help=text)
    text = "average over N views of each image, itself and N - 1 augmented copies; N times the forward passes"
    parser.add_argument("--views", **COUNT, default=1, help=text)
    add_speed_options(parser)


def _quantile(text: str) -> float:
    try:
        return fraction(text)
    except argparse.ArgumentTypeError as error:
        hint = f"put --unknown last, or a number behind it: --unknown {defaults.UNKNOWN}"
        raise argparse.ArgumentTypeError(f"{error}; {hint}") from None


def run(options: argparse.Namespace) -> int:
    """Label images; return 1 if one cannot be used."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.images.unlabelled import check_sources, find_images
    from pipeline.predict.predictions_file import cells_of, check_place, columns
    from pipeline.store import open_features

    check_sources(source for source in options.images if source != STDIN)
    store = open_features(options.store)
    if options.out is not None:
        check_place(Path(options.out))  # before a head is loaded
    total = _count_images(options.images)
    with ConsoleCallbacks() as callbacks:
        predictor = _load_predictor(store, options, callbacks)
        header = columns(predictor.classes, distances=options.unknown is not None)
        # Lines that appear on a terminal show the progress themselves.
        bar = options.out is not None or not sys.stdout.isatty()
        counts, paths = _Counts(callbacks), find_images(_sources(options.images))
        with (
            _open_output(options.out, header, predictor.made_by, paths, counts) as (paths, write),
            contextlib.closing(predictor.predict(paths)) as predictions,
        ):
            remaining = None if total is None else total - counts.done
            if bar:
                callbacks.progress("predict", 0, remaining, "images")
            for n, prediction in enumerate(predictions, start=1):
                write(prediction)
                counts.add(cells_of(prediction, header))
                if bar:
                    callbacks.progress("predict", n, remaining, "images")
    if options.out is None:
        console.note(counts.summary())
    else:
        console.say(f"{counts.summary()}; written to {options.out}")
    return 1 if counts.labels.total() < counts.done else 0


class _Counts:
    """Counts the lines of `predict` and names the first images that cannot be used."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.callbacks = callbacks
        self.done = self.unknown = 0  # all lines, those with an unknown image
        self.labels: Counter[str] = Counter()  # of the lines without an error

    def add(self, cells: Sequence[str]) -> None:
        """Count a line."""
        path, label, *_, unknown, error = cells
        self.done += 1
        if error:
            self.callbacks.image_rejected(path, error)
        else:
            self.labels[label] += 1
            self.unknown += unknown == str(True)

    def summary(self) -> str:
        """Return the numbers of images, labels and unknown images in words."""
        labels = ", ".join(f"{name} {n}" for name, n in self.labels.most_common(console.MAX_LISTED))
        unknown = f"{self.unknown} unknown" if self.unknown else ""
        return "; ".join(filter(None, (f"labelled {self.labels.total()} of {self.done} images", labels, unknown)))


@contextlib.contextmanager
def _open_output(
    out: str | None, header: list[str], made_by: list[Any], paths: Iterator[str], counts: _Counts
) -> Iterator[tuple[Iterator[str], Callable[[Prediction], None]]]:
    """Yield the paths that are still to be labelled, and a function that writes a prediction."""
    from pipeline.predict.predictions_file import PredictionsFile, cells_of, csv_line

    def print_cells(cells: list[str]) -> None:
        sys.stdout.buffer.write(csv_line(cells))
        sys.stdout.buffer.flush()

    if out is None:
        print_cells(header)
        yield paths, lambda prediction: print_cells(cells_of(prediction, header))
        return
    with contextlib.closing(PredictionsFile(out, header, made_by)) as file:
        paths = file.resume(paths, counts.add)
        if counts.done:
            console.note(f"{counts.done} images were labelled before an interruption")
        try:
            yield paths, file.write
        except BaseException:
            if counts.done:
                console.note(f"{counts.done} images are labelled in {file.partial}")
            else:
                file.partial.unlink()
            raise
        file.finish()


def _sources(given: Sequence[str]) -> Iterator[str]:
    for source in given:
        if source == STDIN:
            yield from filter(None, (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer))
        else:
            yield source


def _count_images(given: Sequence[str]) -> int | None:
    """Return the number of images, or None if it depends on standard input."""
    from pipeline.images.unlabelled import find_images

    if STDIN in given:
        return None
    skipped: list[tuple[str, str]] = []
    total = sum(1 for _ in find_images(given, skipped.append))
    console.list_some("skipped", [f"{path} {reason}" for path, reason in skipped])
    if not total:
        raise ImagesError(f"no images in {', '.join(given)}")
    return total


def _load_predictor(store: FeatureStore, options: argparse.Namespace, callbacks: Callbacks) -> Predictor:
    from pipeline.heads import TUNED_HEADS
    from pipeline.predict.label_images import Predictor
    from pipeline.predict.unknown_images import detector_memory
    from pipeline.training.best_head import choose_head

    head = choose_head(store, options.head)
    accuracy = f", validation accuracy {head.trained.evaluation.accuracy:.4f}" if head.trained else ""
    console.note(f"head       {head.name}{accuracy}{'' if options.head else ' (the best saved head)'}")
    warn_of_random_weights(store)
    if options.unknown is not None:
        rows, memory = detector_memory(store)
        console.note(f"unknown    is decided by {rows} train images, {format_size(memory)} of memory")
    if head.name in {"dense", *TUNED_HEADS}:
        console.start_tensorflow_quietly()
    settings = select_options(options, "unknown", "views", "batch_size", "workers")
    return Predictor(store, head.name, callbacks=callbacks, **settings)
