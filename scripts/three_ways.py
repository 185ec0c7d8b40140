"""Compare the slides' three ways, all from the cache: python scripts/three_ways.py PHOTOS.

The ways are: no augmentation, augmentation (cached views) and fine-tuning (features below the top
block); a fourth run combines the last two. The script prints a Markdown table with the validation
accuracy and its 95 % interval, the seconds to compute the features, and the seconds of an epoch
from the cache and of the same steps end to end, where the conv base runs on every image in every
epoch. Progress goes to standard error. The stores are made in a temporary folder.
"""

import argparse
import contextlib
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
    Evaluation,
    FeatureStore,
    extract_features,
    finetune_head,
    open_features,
    scan_images,
    train_heads,
)
from pipeline.cli import console
from pipeline.cli.display.callbacks import ConsoleCallbacks
from pipeline.cli.exit import one_line_errors
from pipeline.cli.shared_options import add_spec_options, spec_from_options
from pipeline.conv_base.spec import WEIGHTS_WORDS
from pipeline.defaults import EPOCHS, HEAD_BATCH, LEARNING_RATE, TUNING_RATE, UNITS
from pipeline.evaluation import with_interval
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.conv_base_loading import load_keras_conv_base
from pipeline.images.decode import decode_image
from pipeline.images.table import ImageTable
from pipeline.store import stack_views
from pipeline.text import format_duration
from scripts.augmentation import random_layers

Forward = Callable[[Any, bool], Any]


class Way(NamedTuple):
    """A way of training, one line of the table."""

    name: str
    tuned: bool
    augmented: bool

    def commands(self, options: argparse.Namespace) -> str:
        """Return the commands that train this way."""
        cut = f" --cut {options.cut}" if self.tuned else ""
        views = f" --views {options.views}" if self.augmented else ""
        return f"`features{cut}{views}`, `{'finetune' if self.tuned else 'heads --heads dense'}`"


WAYS = (
    Way("1 no augmentation", tuned=False, augmented=False),
    Way("2 with augmentation", tuned=False, augmented=True),
    Way("3 fine-tuning", tuned=True, augmented=False),
    Way("2 and 3 together", tuned=True, augmented=True),
)
HEADINGS = ("way", "validation accuracy", "features", "epoch", "end to end", "faster")


class RowSubset:
    """A subset of other rows, as `Rows`."""

    def __init__(self, rows: Any, indices: np.ndarray):
        self.rows, self.indices = rows, indices
        self.shape, self.dtype = (len(indices), *rows.shape[1:]), rows.dtype

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.rows[self.indices[rows]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options = _parse(arguments)
    with contextlib.redirect_stdout(sys.stderr):  # standard output holds the table only
        images = _draw_images(scan_images(options.images), options.train)
        rows = _measure(images, options)
    train, validation, _ = images.counts().sum(axis=0)
    print(
        f"{train} train and {validation} validation images, {options.conv_base} at {options.size}, "
        f"{options.epochs} epochs of the dense head.\n"
        f"features: seconds for all images. epoch, end to end: seconds for {min(options.timed, train)} images, decoded "
        "before.\nfaster: the median of the ratios of paired epochs.\n"
    )
    print("\n".join([*_format_table(rows), ""]))
    print("\n".join(f"- {way.name}: {way.commands(options)}" for way in WAYS))


def _measure(images: ImageTable, options: argparse.Namespace) -> list[tuple[str, ...]]:
    spec = spec_from_options(options)
    console.say(_describe_work(images, options))
    console.start_tensorflow_quietly()
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for cut in (None, options.cut):
            tuned = cut is not None
            console.say(f"\nfeatures {'below the layers to tune' if tuned else 'at the end of the conv base'}")
            cache = Path(work, "maps" if tuned else "features")
            seconds = _fill(images, cache, replace(spec, cut=cut), options.views)
            for way in (way for way in WAYS if way.tuned == tuned):
                console.say(f"\n{way.name}")
                rows.append(_measure_way(way, cache, seconds[way.augmented], options))
    return rows


def _describe_work(images: ImageTable, options: argparse.Namespace) -> str:
    """Describe the work and estimate its time; the steps themselves report better estimates."""
    train, validation, _ = images.counts().sum(axis=0).tolist()
    features = 2 * (train * options.views + validation)
    epochs = len(WAYS) * (options.rounds + 1) * min(options.timed, train)
    return (
        f"{train} train and {validation} validation images of {options.images}\n"
        f"{features + epochs} passes of {options.conv_base} in all: {features} for features of {options.views} views, "
        f"cut and not, {epochs} for epochs end to end\n"
        f"two cores compute 15 to 150 per second, depending on conv base and size: "
        f"{format_duration((features + epochs) / 150)} to {format_duration((features + epochs) / 15)};\n"
        "training may take the same time again; reduce it with --train, --views and --timed"
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    add_spec_options(parser, conv_base="mobilenet_v2", size=224, precision="float32", cut="top1")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--train", type=int, help="train images, drawn at random (default: all)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="epochs of the dense head (default: %(default)s)")
    parser.add_argument("--timed", type=int, default=256, help="train images in a timed epoch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="timed epochs of each kind (default: %(default)s)")
    options = parser.parse_args(arguments)
    # Checked here, as the scan takes longer.
    if options.weights not in WEIGHTS_WORDS and not Path(options.weights).is_file():
        parser.error(f"there is no weights file {options.weights}")
    return options


def _draw_images(images: ImageTable, train: int | None) -> ImageTable:
    is_drawn = np.ones(len(images), bool)
    if train is not None:
        members = np.flatnonzero(images.split_codes == 0)
        is_drawn[members] = False
        is_drawn[np.random.default_rng(0).permutation(members)[:train]] = True
    return images.take(np.flatnonzero(is_drawn))


def _fill(images: ImageTable, cache: Path, spec: ConvBaseSpec, views: int) -> tuple[float, float]:
    """Extract features; return the seconds without views and with all views."""
    start = time.perf_counter()
    with ConsoleCallbacks() as callbacks:
        extract_features(images, cache, spec, callbacks=callbacks)
        plain = time.perf_counter() - start
        extract_features(images, cache, spec, views=views, callbacks=callbacks)
    return plain, time.perf_counter() - start


def _measure_way(way: Way, cache: Path, feature_seconds: float, options: argparse.Namespace) -> tuple[str, ...]:
    store = open_features(cache)
    views = options.views if way.augmented else 1
    evaluation = _train(way, store, views, options.epochs)
    console.say(f"timing epochs of {options.timed} images, alternately from the cache and end to end ...")
    cached, end_to_end = _time_epochs(store, way, views, options)
    times = [slow / fast for slow, fast in zip(end_to_end, cached, strict=True)]
    return (
        way.name,
        with_interval(evaluation.accuracy, evaluation.accuracy_interval),
        f"{feature_seconds:.1f}",
        f"{statistics.median(cached):.2f}",
        f"{statistics.median(end_to_end):.2f}",
        f"{statistics.median(times):.1f}x",
    )


def _train(way: Way, store: FeatureStore, views: int, epochs: int) -> Evaluation:
    dense = {"epochs": epochs}
    if way.tuned:
        with ConsoleCallbacks() as callbacks:
            return finetune_head(store, dense=dense, views=views, callbacks=callbacks).evaluation
    with ConsoleCallbacks() as callbacks:
        return train_heads(
            store,
            ["dense"],
            params={"dense": dense},
            views=views,
            callbacks=callbacks,
        )[0].evaluation


def _format_table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    lines = []
    for name, *figures in (HEADINGS, *rows):
        padded = [name.ljust(widths[0]), *map(str.rjust, figures, widths[1:])]
        lines.append(f"| {' | '.join(padded)} |")
    ruler = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
    return [lines[0], f"|{'|'.join(ruler)}|", *lines[1:]]


def _time_epochs(
    store: FeatureStore, way: Way, views: int, options: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """Return the seconds of alternating epochs from the cache and end to end; the first of each is not counted."""
    runs = [_from_cache(store, way, views, options.timed), _end_to_end(store, way, options.timed)]
    for _ in range(options.rounds + 1):
        for epochs, data in runs:
            epochs.run_epoch(data)
    cached, end_to_end = (epochs.seconds[1:] for epochs, _ in runs)
    return cached, end_to_end


def _from_cache(store: FeatureStore, way: Way, views: int, timed: int) -> tuple[Any, Any]:
    X, y, groups = stack_views(store, "train", views)
    rows = np.flatnonzero(np.isin(groups, np.unique(groups)[:timed]))
    top_layers, head, model = _build_layers(store, way)

    def forward(rows: Any, training: bool) -> Any:
        return head(rows if top_layers is None else top_layers(rows, training=False), training=training)

    return _make_epoch_loop(model, forward, way, RowSubset(X, rows), y[rows], groups[rows] if views > 1 else None)


def _end_to_end(store: FeatureStore, way: Way, timed: int) -> tuple[Any, Any]:
    import keras

    members = store.members("train")[:timed]
    paths, height_width = store.images.paths, store.spec.height_width
    pixels = np.stack([decode_image(Path(paths[member]).read_bytes(), height_width) for member in members])
    lower = load_keras_conv_base(store, Callbacks()).model
    top_layers, head, model = _build_layers(store, way)
    inputs = keras.Input((*height_width, 3))
    augmented = keras.Model(inputs, random_layers(inputs)) if way.augmented else None

    def forward(rows: Any, training: bool) -> Any:
        maps = lower(rows if augmented is None or not training else augmented(rows, training=True), training=False)
        return head(maps if top_layers is None else top_layers(maps, training=False), training=training)

    return _make_epoch_loop(model, forward, way, pixels, store.images.labels[members], None)


def _build_layers(store: FeatureStore, way: Way) -> tuple[Any, Any, Any]:
    """Return the layers above the cut (None if they are not trained), a new dense head, and both as one model."""
    from pipeline.conv_base.load_top_layers import load_top_layers
    from pipeline.heads import dense_network

    top_layers = load_top_layers(store.spec) if way.tuned else None
    shape = store.feature_shape if top_layers is None else tuple(top_layers.output_shape[1:])
    head = dense_network.build_network(shape, len(store.classes), UNITS, 0.0, np.random.default_rng(0))
    if top_layers is None:
        return None, head, head
    model = dense_network.join_models(top_layers, head)
    return model.get_layer("upper"), model.get_layer("dense_head"), model


def _make_epoch_loop(
    model: Any, forward: Forward, way: Way, X: Any, y: np.ndarray, groups: np.ndarray | None
) -> tuple[Any, Any]:
    from pipeline.heads.batches import LabelledRows
    from pipeline.heads.compiled_network import CompiledNetwork
    from pipeline.heads.epoch_loop import EpochLoop

    two = model.output_shape[-1] == 1
    targets = y[:, None].astype(np.float32) if two else y.astype(np.int64)
    data = LabelledRows(X, np.arange(len(y)), targets, np.ones(len(y), np.float32), groups)
    network = CompiledNetwork(model, TUNING_RATE if way.tuned else LEARNING_RATE, HEAD_BATCH, forward)
    network.row_shape = X.shape[1:]  # end to end, a row is an image
    return EpochLoop(network, None, np.random.default_rng(0)), data


if __name__ == "__main__":
    with one_line_errors("three_ways"):
        main()
