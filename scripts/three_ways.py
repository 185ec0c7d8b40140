"""The slides' three ways side by side, from the cache: python scripts/three_ways.py PHOTOS.

Without augmentation, with augmentation (cached views) and with fine-tuning (maps below the uppermost
block), and the last two together. Prints a Markdown table: validation accuracy with its 95 %
interval, the seconds that the features took, and an epoch's seconds against the same steps end to
end, where the conv base runs on every image in every epoch. Stores are made in a temporary folder.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline import (
    ConvBaseSpec,
    FeatureStore,
    extract_features,
    finetune_head,
    open_features,
    scan_images,
    train_heads,
)
from pipeline.arguments.kinds import key_value, size
from pipeline.console import start_tensorflow_quietly
from pipeline.decode import decode_image
from pipeline.defaults import EPOCHS, HEAD_BATCH, LEARNING_RATE, TUNING_RATE, UNITS
from pipeline.extract import load_stored_conv_base
from pipeline.progress import Progress
from pipeline.store import stack_views
from pipeline.table import ImageTable
from scripts.augmentation import random_layers

Forward = Callable[[Any, bool], Any]


class Way(NamedTuple):
    """One line of the table."""

    name: str
    command: str
    tuned: bool
    augmented: bool


WAYS = (
    Way("no augmentation", "heads", tuned=False, augmented=False),
    Way("with augmentation", "features --views, heads", tuned=False, augmented=True),
    Way("fine-tuned", "features --cut top1, finetune", tuned=True, augmented=False),
    Way("fine-tuned, with augmentation", "features --cut top1 --views, finetune", tuned=True, augmented=True),
)


class Some:
    """Some rows of others, as `Rows`."""

    def __init__(self, rows: Any, numbers: np.ndarray):
        self.rows, self.numbers = rows, numbers
        self.shape, self.dtype = (len(numbers), *rows.shape[1:]), rows.dtype

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, some: Any) -> np.ndarray:
        return self.rows[self.numbers[some]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options = _options(arguments)
    start_tensorflow_quietly()
    images = _some_images(scan_images(options.images), options.train)
    spec = ConvBaseSpec(
        options.conv_base, dict(options.conv_base_arg), options.weights, options.size, precision=options.precision
    )
    counts = images.counts().sum(axis=0)
    lines = []
    with tempfile.TemporaryDirectory() as work:
        for cut in (None, options.cut):
            tuned = cut is not None
            cache = Path(work, "maps" if tuned else "features")
            seconds = _fill(images, cache, replace(spec, cut=cut), options.views)
            for way in (way for way in WAYS if way.tuned == tuned):
                lines.append(_line(way, cache, seconds[way.augmented], options))
                print(lines[-1], file=sys.stderr, flush=True)
    print(
        f"{counts[0]} train and {counts[1]} validation images, {options.conv_base} at {options.size}, {options.views} "
        f"views, {options.epochs} epochs of the dense head; epochs timed on {options.timed} images, end to end with "
        "its images decoded in memory\n"
    )
    print("| way | commands | validation accuracy | features, s | s an epoch | end to end, s | times faster |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("--conv-base", default="mobilenet_v2")
    parser.add_argument("--conv-base-arg", action="append", type=key_value, default=[])
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--size", type=size, default=224)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--cut", default="top1", help="of the ways that are fine-tuned (default: %(default)s)")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--train", type=int, help="train images, drawn at random (default: all)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the dense head (default: %(default)s)")
    parser.add_argument("--timed", type=int, default=256, help="train images of a timed epoch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="timed epochs of either kind (default: %(default)s)")
    return parser.parse_args(arguments)


def _some_images(images: ImageTable, train: int | None) -> ImageTable:
    kept = np.ones(len(images), bool)
    if train is not None:
        members = np.flatnonzero(images.split_codes == 0)
        kept[members] = False
        kept[np.random.default_rng(0).permutation(members)[:train]] = True
    return images.take(np.flatnonzero(kept))


def _fill(images: ImageTable, cache: Path, spec: ConvBaseSpec, views: int) -> tuple[float, float]:
    """Seconds of the features without views, and with."""
    start = time.perf_counter()
    extract_features(images, cache, spec)
    plain = time.perf_counter() - start
    extract_features(images, cache, spec, views=views)
    return plain, time.perf_counter() - start


def _line(way: Way, cache: Path, feature_seconds: float, options: argparse.Namespace) -> str:
    store = open_features(cache)
    views = options.views if way.augmented else 1
    dense = {"epochs": options.epochs}
    if way.tuned:
        report = finetune_head(store, dense=dense, views=views).report
    else:
        report = train_heads(store, ["dense"], params={"dense": dense}, views=views)[0].report
    cached, end_to_end = _epochs(store, way, views, options)
    times = statistics.median(slow / fast for slow, fast in zip(end_to_end, cached, strict=True))
    low, high = report.accuracy_interval
    cells = (
        way.name,
        f"`{way.command}`",
        f"{report.accuracy:.4f} [{low:.3f}, {high:.3f}]",
        f"{feature_seconds:.1f}",
        f"{statistics.median(cached):.2f}",
        f"{statistics.median(end_to_end):.2f}",
        f"{times:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _epochs(store: FeatureStore, way: Way, views: int, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Seconds of epochs from the cache and end to end on the same images, in turn, after one that is not counted."""
    runs = [_from_cache(store, way, views, options.timed), _end_to_end(store, way, options.timed)]
    for _ in range(options.rounds + 1):
        for epochs, data in runs:
            epochs.run(data, None)
    cached, end_to_end = (epochs.seconds[1:] for epochs, _ in runs)
    return cached, end_to_end


def _from_cache(store: FeatureStore, way: Way, views: int, timed: int) -> tuple[Any, Any]:
    X, y, groups = stack_views(store, "train", views)
    numbers = np.flatnonzero(np.isin(groups, np.unique(groups)[:timed]))
    upper, head, model = _layers(store, way)

    def forward(rows: Any, training: bool) -> Any:
        return head(rows if upper is None else upper(rows, training=False), training=training)

    return _epochs_of(model, forward, way, Some(X, numbers), y[numbers], groups[numbers] if views > 1 else None)


def _end_to_end(store: FeatureStore, way: Way, timed: int) -> tuple[Any, Any]:
    import keras

    members = store.members("train")[:timed]
    paths, height_width = store.images.paths, store.spec.height_width
    pixels = np.stack([decode_image(Path(paths[member]).read_bytes(), height_width) for member in members])
    lower = load_stored_conv_base(store, Progress()).model
    upper, head, model = _layers(store, way)
    inputs = keras.Input((*height_width, 3))
    augmented = keras.Model(inputs, random_layers(inputs)) if way.augmented else None

    def forward(rows: Any, training: bool) -> Any:
        maps = lower(rows if augmented is None or not training else augmented(rows, training=True), training=False)
        return head(maps if upper is None else upper(maps, training=False), training=training)

    return _epochs_of(model, forward, way, pixels, store.images.labels[members], None)


def _layers(store: FeatureStore, way: Way) -> tuple[Any, Any, Any]:
    """The layers above the cut, if they are trained too, a new dense head, and what is trained as one model."""
    from pipeline.conv_base.upper import load_upper
    from pipeline.heads import network

    upper = load_upper(store.spec) if way.tuned else None
    shape = store.feature_shape if upper is None else tuple(upper.output_shape[1:])
    head = network.build(shape, len(store.classes), UNITS, 0.0, np.random.default_rng(0))
    if upper is None:
        return None, head, head
    model = network.put_on_top(upper, head)
    return model.get_layer("upper"), model.get_layer("dense_head"), model


def _epochs_of(
    model: Any, forward: Forward, way: Way, X: Any, y: np.ndarray, groups: np.ndarray | None
) -> tuple[Any, Any]:
    from pipeline.heads import training

    two = model.output_shape[-1] == 1
    targets = y[:, None].astype(np.float32) if two else y.astype(np.int64)
    data = training.Labelled(X, np.arange(len(y)), targets, np.ones(len(y), np.float32), groups)
    network = training.Network(model, TUNING_RATE if way.tuned else LEARNING_RATE, HEAD_BATCH, forward)
    network.row_shape = X.shape[1:]  # images, end to end
    return training.Epochs(network, None, np.random.default_rng(0)), data


if __name__ == "__main__":
    main()
