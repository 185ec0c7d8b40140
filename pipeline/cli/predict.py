"""`predict`: label new images."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.cli import console, display
from pipeline.errors import ImagesError
from pipeline.heads import TUNED_HEADS
from pipeline.images.table import Skipped
from pipeline.images.unlabelled import check_sources, find_images
from pipeline.predict.csv_file import PredictionsFile, cells_of, check_place, columns, csv_line
from pipeline.predict.outliers import neighbours_memory
from pipeline.predict.predictor import Predictor
from pipeline.store import FeatureStore, open_features
from pipeline.text import format_size
from pipeline.training.saved_heads import choose_head

STDIN = "-"


def run(options: argparse.Namespace) -> int:
    """Label new images."""
    check_sources(source for source in options.images if source != STDIN)
    store = open_features(options.store)
    if options.out is not None:
        check_place(Path(options.out))  # before a head is loaded
    total = _count(options.images)
    predictor = _predictor(store, options)
    header = columns(predictor.classes, distances=options.unknown is not None)
    paths = find_images(_sources(options.images))
    tally = _Tally(total)
    if options.out is None:
        _write_line(header)
        # On a terminal the lines themselves are what moves.
        _label(predictor, paths, header, _write_line, tally, bar=not sys.stdout.isatty())
        console.note(tally.words())
    else:
        _label_into_file(predictor, paths, header, options.out, tally)
        console.say(f"{tally.words()}; written to {options.out}")
    return 1 if tally.bad else 0


def _label_into_file(predictor: Predictor, paths: Iterator[str], header: list[str], out: str, tally: _Tally) -> None:
    with contextlib.closing(PredictionsFile(out, header, predictor.made_by)) as file:
        paths = file.go_on(paths, tally.count)
        if tally.done:
            console.note(f"{tally.done} images were labelled before an interruption")
        try:
            _label(predictor, paths, header, file.write, tally)
        except BaseException:
            if tally.done:
                console.note(f"{tally.done} images are labelled in {file.partial}")
            else:
                file.partial.unlink()
            raise
        file.finish()


def _label(
    predictor: Predictor,
    paths: Iterator[str],
    header: list[str],
    write: Callable[[list[str]], None],
    tally: _Tally,
    bar: bool = True,
) -> None:
    with contextlib.closing(predictor.predict(paths)) as predictions, contextlib.closing(tally):
        if bar:
            tally.start_meter()
        for prediction in predictions:
            cells = cells_of(prediction, header)
            write(cells)
            tally.count(cells)


def _sources(given: Sequence[str]) -> Iterator[str]:
    for source in given:
        if source == STDIN:
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
            yield from (line for line in lines if line)
        else:
            yield source


def _count(given: Sequence[str]) -> int | None:
    """How many images there are; None where only standard input knows."""
    if STDIN in given:
        return None
    skipped: list[Skipped] = []
    total = sum(1 for _ in find_images(given, skipped.append))
    display.list_some("passed over", [f"{path} {reason}" for path, reason in skipped])
    if not total:
        raise ImagesError(f"no images in {', '.join(given)}")
    return total


def _predictor(store: FeatureStore, options: argparse.Namespace) -> Predictor:
    head = choose_head(store, options.head)
    accuracy = f", validation accuracy {head.scores.accuracy:.4f}" if head.scores else ""
    console.note(f"head       {head.name}{accuracy}{'' if options.head else ' (the best of those saved)'}")
    display.warn_of_heads([head], store.directory)
    if store.random_weights:
        display.warn_random_weights()
    if options.unknown is not None:
        rows, memory = neighbours_memory(store)
        console.note(f"unknown    is judged by {rows} train images, {format_size(memory)} of memory")
    if head.name in {"dense", *TUNED_HEADS}:
        console.start_tensorflow_quietly()
    return Predictor(
        store,
        head.name,
        unknown=options.unknown,
        views=options.views,
        batch_size=options.batch_size,
        workers=options.workers,
        callbacks=display.ConsoleCallbacks(),
    )


def _write_line(cells: Sequence[str]) -> None:
    sys.stdout.buffer.write(csv_line(cells))
    sys.stdout.buffer.flush()


class _Tally:
    """Counts lines for the person who waits, and names the first bad images."""

    def __init__(self, total: int | None):
        self.total, self.done, self.bad, self.unknown = total, 0, 0, 0
        self.labels: Counter[str] = Counter()
        self.meter: console.Meter | None = None

    def start_meter(self) -> None:
        """From here on, show how fast it goes."""
        self.kept = self.done
        self.meter = console.Meter("predict", None if self.total is None else self.total - self.kept, "images")

    def close(self) -> None:
        """The step is over, at its end or not."""
        if self.meter is not None:
            self.meter.close()

    def count(self, cells: Sequence[str]) -> None:
        """One more line."""
        path, label, *_, unknown, error = cells
        self.done += 1
        if self.meter is not None:
            self.meter.advance(self.done - self.kept)
        if not error:
            self.labels[label] += 1
            self.unknown += unknown == str(True)
            return
        self.bad += 1
        if self.bad <= display.MAX_LISTED:
            console.note(f"left out: {path}: {error}")

    def words(self) -> str:
        """What came of it."""
        labels = ", ".join(f"{name} {n}" for name, n in self.labels.most_common(display.MAX_LISTED))
        parts = [f"labelled {self.done - self.bad} of {self.done} images", *([labels] if labels else [])]
        if self.unknown:
            parts.append(f"{self.unknown} unknown")
        return "; ".join(parts)
