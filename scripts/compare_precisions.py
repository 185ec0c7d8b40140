"""Compare precisions on your own photos: python scripts/compare_precisions.py PHOTOS.

The same heads are trained on the features of the same images in each precision. The script prints a
Markdown table: the speed of stage one, and for each head the validation accuracy in the first
precision and, for each other one, the difference with its 95 % interval (a paired bootstrap over the
validation images). `--enlarge` also compares exact with scaled decoding, on enlarged copies of the
photos. Progress goes to standard error. The stores are made in a temporary folder.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline import ConvBaseSpec, FeatureStore, extract_features, scan_images, train_heads
from pipeline.cli import console
from pipeline.cli.display.callbacks import ConsoleCallbacks
from pipeline.cli.exit import one_line_errors
from pipeline.cli.option_types import size
from pipeline.cli.shared_options import add_spec_options, spec_from_options
from pipeline.evaluation.bootstrap import accuracy_of, bootstrap_intervals
from pipeline.extraction.plan import ExtractionPlan
from pipeline.heads import head_names
from pipeline.images.table import ImageTable

PRECISIONS = ("float32", "bfloat16", "int8")


class Result(NamedTuple):
    """What was measured with one spec."""

    name: str
    images_per_second: float  # of stage one, from the plan to the last shard
    error: float  # relative L2 of the features against float32
    is_right: dict[str, np.ndarray]  # by head, (validation images,), bool
    groups: np.ndarray  # of the validation images, (n,)


class TimingCallbacks(ConsoleCallbacks):
    """Shows progress, and records when the computation of features begins."""

    start = 0.0

    def extraction_planned(self, plan: ExtractionPlan, store: FeatureStore) -> None:
        """Record the time."""
        super().extraction_planned(plan, store)
        self.start = time.perf_counter()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options = _parse(arguments)
    spec = spec_from_options(options)
    specs = {precision: replace(spec, precision=precision) for precision in options.precisions}
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(sys.stderr):
        images = scan_images(options.images)
        if options.enlarge:
            images = scan_images(_enlarge(images, Path(work, "photos"), *options.enlarge))
            specs[f"{options.precisions[-1]}, scaled"] = replace(specs[options.precisions[-1]], decode="scaled")
        console.start_tensorflow_quietly()
        results = [_measure(name, images, spec, Path(work), options.heads) for name, spec in specs.items()]
    train, validation, _ = images.counts().sum(axis=0)
    large = "" if not options.enlarge else f", enlarged to {options.enlarge[1]}x{options.enlarge[0]} pixels"
    print(f"{train} train and {validation} validation images{large}, {spec.conv_base} at {options.size}.\n")
    print("\n".join(_format_table(results)))


def _measure(name: str, images: ImageTable, spec: ConvBaseSpec, work: Path, heads: Sequence[str]) -> Result:
    console.say(f"\n{name}")
    with TimingCallbacks() as callbacks:
        store = extract_features(images, work / name, spec, callbacks=callbacks)
        seconds = time.perf_counter() - callbacks.start
        trained = train_heads(store, heads, callbacks=callbacks)
    X, y = store.load("validation")
    return Result(
        name,
        len(store.members()) / seconds,
        store.manifest.precision_error.get("relative_l2", 0.0),
        {head.name: head.head.predict(X) == y for head in trained},
        store.resampling_groups("validation"),
    )


def _enlarge(images: ImageTable, folder: Path, height: int, width: int) -> Path:
    """Write an enlarged JPEG of each image, in folders by split and class; return their folder."""
    splits = images.splits

    def write(i: int) -> None:
        path = folder / splits[i] / images.classes[images.labels[i]] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(images.paths[i]) as photo:
            photo.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)

    with ConsoleCallbacks() as callbacks, ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(write, range(len(images))), 1):
            callbacks.progress("enlarging", done, len(images), "photos")
    return folder


def _format_table(results: Sequence[Result]) -> list[str]:
    first, *others = results
    rows = [
        ["", *(result.name for result in results)],
        ["---", *("---:" for _ in results)],
        ["stage one, images/s", *(f"{result.images_per_second:.0f}" for result in results)],
        ["relative L2 error of features", *(f"{result.error:.3f}" for result in results)],
    ]
    for head, is_right in first.is_right.items():
        differences = [_format_difference(is_right, other.is_right[head], first.groups) for other in others]
        rows.append([head, f"{is_right.mean():.4f}", *differences])
    return [f"| {' | '.join(row)} |" for row in rows]


def _format_difference(first: np.ndarray, other: np.ndarray, groups: np.ndarray) -> str:
    """Return an accuracy, and its difference from that of the first precision with the paired 95 % interval."""

    def difference(counts: np.ndarray) -> np.ndarray:
        return accuracy_of(other)(counts) - accuracy_of(first)(counts)

    (interval,) = bootstrap_intervals([difference], len(first), groups=groups)
    low, high = interval or (np.nan, np.nan)
    return f"{other.mean():.4f}, {other.mean() - first.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    add_spec_options(parser)
    parser.add_argument(
        "--precisions",
        type=lambda text: text.split(","),
        default=PRECISIONS,
        help="the first is the reference (default: all)",
    )
    parser.add_argument("--heads", type=lambda text: text.split(","), default=head_names(), help="default: all")
    parser.add_argument(
        "--enlarge", type=size, metavar="HxW", help="compare scaled decoding, on photos enlarged to this size"
    )
    options = parser.parse_args(arguments)
    if options.precision != ConvBaseSpec.precision:
        parser.error("give several precisions, separated by commas, with --precisions")
    if unknown := set(options.precisions) - set(PRECISIONS) - {"float16"}:
        parser.error(f"precision {', '.join(sorted(unknown))} is not one of {', '.join(PRECISIONS)}, float16")
    return options


if __name__ == "__main__":
    with one_line_errors("compare_precisions"):
        main()
