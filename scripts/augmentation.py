"""Measure the gain from augmentation on few images: python scripts/augmentation.py PHOTOS.

For each seed, the script draws some train images and trains heads on them in three ways: without
augmentation, on cached views, and as the slides do it, with Keras' random layers in front of the
frozen conv base, which then runs on every image in every epoch. All heads are scored on the same
validation images without augmentation. The script prints a Markdown table.
"""

import argparse
import contextlib
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline import FeatureStore, evaluate, extract_features, make_head, scan_images
from pipeline.cli.exit import one_line_errors
from pipeline.cli.shared_options import add_spec_options, spec_from_options
from pipeline.defaults import EXTRACT_BATCH, HEAD_BATCH, LEARNING_RATE, UNITS
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.conv_base_loading import load_stored_conv_base
from pipeline.extraction.decode_ahead import list_tasks
from pipeline.extraction.run_conv_base import compute_tasks
from pipeline.heads import head_params
from pipeline.images.augment import Augmentation
from pipeline.images.decode import decode_image
from pipeline.images.table import ImageTable
from pipeline.store import open_view, stack_views

ONLINE = "online, end-to-end training"


class Trained(NamedTuple):
    """The scores of one head trained with one seed."""

    way: str
    head: str
    accuracy: float
    feature_seconds: float
    fit_seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options = _parse(arguments)
    images = scan_images(options.images)
    draws = [_draw_balanced(images, options.train, seed) for seed in range(options.seeds)]
    store = _fill_store(images, draws, options)
    conv_base = load_stored_conv_base(store, Callbacks())
    seconds_per_image = _measure_seconds_per_image(store, conv_base)
    results: list[Trained] = []
    for seed, draw in enumerate(draws):
        drawn = np.flatnonzero(np.isin(store.ids("train"), [images.ids[row] for row in draw.tolist()]))
        results += _train_on_views(store, drawn, options, seed, seconds_per_image)
        if not options.no_online:
            results.append(_train_online(store, conv_base, drawn, options, seed))
        print(f"seed {seed} done", flush=True)
    print(
        f"\n{options.train} train and {len(store.members('validation'))} validation images, {store.spec.conv_base} in "
        f"{store.spec.precision}, {options.epochs} epochs of the dense head, {options.seeds} seeds\n"
    )
    print("\n".join(_format_table(results)))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("--cache", default="cache/augmentation", help="the store of this script (default: %(default)s)")
    add_spec_options(parser, conv_base="mobilenet_v2", size=224, precision="float32")
    parser.add_argument("--train", type=int, default=200, help="train images for each seed")
    parser.add_argument("--views", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--heads", nargs="+", default=["dense", "logistic"])
    parser.add_argument(
        "--no-online", action="store_true", help="skip end-to-end training, which takes by far the longest"
    )
    return parser.parse_args(arguments)


def _fill_store(images: ImageTable, draws: Sequence[np.ndarray], options: argparse.Namespace) -> FeatureStore:
    """Extract features of all validation images and of the train images of all seeds."""
    spec = spec_from_options(options)
    wanted = np.unique(np.concatenate([np.flatnonzero(images.split_codes == 1), *draws]))
    return extract_features(images.take(wanted), options.cache, spec, views=max(options.views))


def _measure_seconds_per_image(store: FeatureStore, conv_base: Any) -> float:
    """Return the seconds to decode, augment and compute an image, measured on some images of view 1."""
    view = open_view(store, 1)
    tasks = islice(list_tasks(view.index, view.index.ranges, view.spec.view), 5 * EXTRACT_BATCH)
    with contextlib.closing(compute_tasks(tasks, store, conv_base.compute, batch_size=EXTRACT_BATCH)) as rows:
        for _ in islice(rows, EXTRACT_BATCH):
            pass  # TensorFlow traces the model in the first batch
        start = time.perf_counter()
        others = sum(1 for _ in rows)
    return (time.perf_counter() - start) / others if others else float("nan")


def _draw_balanced(images: ImageTable, count: int, seed: int) -> np.ndarray:
    """Return the rows of `count` random train images, the same number of each class."""
    rng = np.random.default_rng(seed)
    each = count // len(images.classes)
    of_class = [np.flatnonzero((images.split_codes == 0) & (images.labels == k)) for k in range(len(images.classes))]
    return np.sort(np.concatenate([rng.permutation(rows)[:each] for rows in of_class]))


def _train_on_views(
    store: FeatureStore, images: np.ndarray, options: argparse.Namespace, seed: int, seconds_per_image: float
) -> Iterator[Trained]:
    validation = store.load("validation")
    for count in (1, *options.views):
        X, y, groups = stack_views(store, "train", count)
        rows = rows_of_images(groups, images)
        features = X[rows]
        for name in options.heads:
            params = {"epochs": options.epochs} if name == "dense" else {}
            if "random_state" in head_params(name):
                params["random_state"] = seed
            head = make_head(name, **params)
            start = time.perf_counter()
            head.fit(features, y[rows], images=groups[rows] if count > 1 else None)
            seconds = time.perf_counter() - start
            way = "no augmentation" if count == 1 else f"{count} cached views"
            accuracy = evaluate(head, *validation).accuracy
            yield Trained(way, name, accuracy, count * len(images) * seconds_per_image, seconds)


def rows_of_images(groups: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the rows of `stack_views` that are views of the given images; a view may lack an image.

    Parameters
    ----------
    groups : ndarray of shape (m,), int64
        Equal where rows are views of one image; see `stack_views`.
    images : ndarray of shape (n,), int
        Rows of the images in view 0, which comes first.
    """
    return np.flatnonzero(np.isin(groups, groups[images]))


def _train_online(
    store: FeatureStore, conv_base: Any, images: np.ndarray, options: argparse.Namespace, seed: int
) -> Trained:
    """Train Keras' random layers, the frozen conv base and the dense head with `fit`."""
    import keras

    from pipeline.heads import dense_network

    keras.utils.set_random_seed(seed)
    members = store.members("train")[images]
    paths, height_width = store.images.paths, store.spec.height_width
    pixels = np.stack([decode_image(Path(paths[member]).read_bytes(), height_width) for member in members])
    y = store.images.labels[members]
    rng = np.random.default_rng(seed)
    head = dense_network.build_network(conv_base.feature_shape, len(store.classes), UNITS, 0.0, rng)
    inputs = keras.Input((*height_width, 3))
    model = keras.Model(inputs, head(conv_base.model(random_layers(inputs), training=False)))
    two = len(store.classes) == 2
    loss = "binary_crossentropy" if two else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss)
    start = time.perf_counter()
    model.fit(pixels, y, batch_size=HEAD_BATCH, epochs=options.epochs, verbose=0)
    seconds = time.perf_counter() - start
    X, labels = store.load("validation")
    outputs = dense_network.predict_outputs(head, X)
    predicted = (outputs[:, 0] > 0.5) if two else outputs.argmax(axis=1)
    return Trained(ONLINE, "dense", float(np.mean(predicted == labels)), 0.0, seconds)


def random_layers(pixels: Any) -> Any:
    """Apply random layers with the ranges of the views; each layer interpolates, the views interpolate once."""
    from keras import layers

    ranges = Augmentation()
    shear = np.tan(np.radians(ranges.shear))
    for layer in (
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(ranges.rotation / 360, fill_mode="nearest"),
        layers.RandomTranslation(ranges.height_shift, ranges.width_shift, fill_mode="nearest"),
        layers.RandomShear(shear, 0.0, fill_mode="nearest"),
        layers.RandomZoom((-ranges.zoom, ranges.zoom), (-ranges.zoom, ranges.zoom), fill_mode="nearest"),
    ):
        pixels = layer(pixels, training=True)
    return pixels


def _format_table(results: Sequence[Trained]) -> Iterator[str]:
    yield "| way | head | validation accuracy, mean and spread | features, s | training, s |"
    yield "|---|---|---|---|---|"
    for head, way in dict.fromkeys((result.head, result.way) for result in results):
        seeds = [result for result in results if (result.head, result.way) == (head, way)]
        accuracies = np.array([result.accuracy for result in seeds])
        features, fit = (
            np.median([getattr(result, name) for result in seeds]) for name in ("feature_seconds", "fit_seconds")
        )
        spread = f"{accuracies.mean():.4f} ({accuracies.min():.4f} to {accuracies.max():.4f})"
        yield f"| {way} | `{head}` | {spread} | {features:.1f} | {fit:.1f} |"


if __name__ == "__main__":
    with one_line_errors("augmentation"):
        main()
