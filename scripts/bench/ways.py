"""The whole job, from photos to a trained head, in three ways on a subset of the photos."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from pipeline import extract_features, make_head, scan_images
from pipeline.cli.console import start_tensorflow_quietly
from pipeline.conv_base.load import load_conv_base
from pipeline.conv_base.precision import settle_precision
from pipeline.defaults import EPOCHS, HEAD_BATCH, UNITS

from .limit import vgg16_spec
from .measuring import alternate, say, seconds_of
from .photos import link_photos
from .results import Figure, figure
from .sizes import BATCH_OF_SPLITS, Sizes

PASS = 3  # times `sizes.seconds`: the intended seconds of a pass through the conv base


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure the seconds of each way; one epoch of end-to-end training is measured and multiplied by ten."""
    start_tensorflow_quietly()
    base = load_conv_base(vgg16_spec(sizes.side, "float32")).model
    folder = work / "subset"
    n = link_photos(photos, folder, _choose_subset(base, sizes))
    say(f"  building the three ways for {n} photos")
    slides, common = SlidesWay(base, folder, sizes.side), CommonWay(base, folder, sizes.side)
    first = seconds_of(slides.run_epoch)
    common.extract()
    pipelines = {
        precision: PipelineWay(folder, work / "ways", sizes.side, precision)
        for precision in (*sizes.precisions, "int8")
    }
    measured = alternate(
        "seconds",
        sizes.rounds,
        {
            "end-to-end epoch": lambda: seconds_of(slides.run_epoch),
            **{f"pipeline {precision}": way.run for precision, way in pipelines.items()},
            "predict": lambda: seconds_of(common.extract),
        },
    )
    epoch, predict = measured["end-to-end epoch"], measured["predict"]
    fixed = max(0.0, slides.build_seconds + first - float(np.median(epoch)))
    figures = _other_figures(n, fixed, epoch, predict)
    for precision, way in pipelines.items():
        figures += _pipeline_figures(n, precision, way.steps, [fixed + EPOCHS * seconds for seconds in epoch])
    return figures


def _choose_subset(base: Any, sizes: Sizes) -> int:
    """Return how many photos a pass of `PASS` times `sizes.seconds` can process, in whole batches per split."""
    batch = np.zeros((HEAD_BATCH, sizes.side, sizes.side, 3), np.float32)
    base.predict_on_batch(batch)
    rate = HEAD_BATCH / seconds_of(base.predict_on_batch, batch)
    fitting = round(rate * PASS * sizes.seconds / BATCH_OF_SPLITS) * BATCH_OF_SPLITS
    return min(max(fitting, BATCH_OF_SPLITS), sizes.subset)


def _other_figures(n: int, fixed: float, epoch: list[float], predict: list[float]) -> list[Figure]:
    return [
        figure("ways.photos", "photos in the subset", n, "", note="four fifths to train on"),
        figure(
            "ways.slides_epoch",
            f"end-to-end training, one epoch on {n} photos",
            epoch,
            "s",
            note="float32, conv base frozen",
        ),
        figure("ways.slides_fixed", "end-to-end training, building and tracing", fixed, "s"),
        figure(
            "ways.slides",
            f"end-to-end training, whole job on {n} photos",
            [fixed + EPOCHS * seconds for seconds in epoch],
            "s",
            note=f"one epoch measured, times {EPOCHS}",
        ),
        figure(
            "ways.common",
            "common way, features",
            [n / seconds for seconds in predict],
            "images/s",
            note="float32, image_dataset_from_directory and predict, traced before",
        ),
    ]


def _pipeline_figures(n: int, precision: str, steps: list[dict[str, float]], slides: list[float]) -> list[Figure]:
    whole = [sum(run.values()) for run in steps]
    note = f"scan, features, {EPOCHS} epochs of the dense head; all but importing"
    figures = [
        figure(f"ways.whole.{precision}", f"pipeline, whole job on {n} photos, {precision}", whole, "s", note=note)
    ]
    for name in steps[0]:
        figures.append(
            figure(f"ways.{name}.{precision}", f"pipeline, {name}, {precision}", [run[name] for run in steps], "s")
        )
    times = [slides_seconds / seconds for slides_seconds, seconds in zip(slides, whole, strict=True)]
    note = "raw; loading and tracing the conv base weigh much on so few"
    what = f"times faster than end-to-end training on {n} photos, {precision}"
    return [*figures, figure(f"ways.times.{precision}", what, times, "x", note=note)]


class SlidesWay:
    """End-to-end training, the slides' way: the frozen conv base is part of the model and runs in each epoch."""

    def __init__(self, base: Any, folder: Path, side: int):
        import keras

        start = time.perf_counter()
        self.train, self.validation = _image_datasets(folder, side)
        hidden = [keras.layers.Dense(width, activation="relu") for width in UNITS]
        layers = [keras.Input((side, side, 3)), base, keras.layers.Flatten(), *hidden]
        self.model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
        self.model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        self.build_seconds = time.perf_counter() - start

    def run_epoch(self) -> None:
        """Train on the train photos and score on the validation photos."""
        self.model.fit(
            self.train, validation_data=self.validation, epochs=1, verbose=0, shuffle=False
        )  # the data set shuffles


class CommonWay:
    """The common way: `model.predict` computes the features once and they stay in memory."""

    def __init__(self, base: Any, folder: Path, side: int):
        self.base = base
        self.datasets = _image_datasets(folder, side)

    def extract(self) -> None:
        """Compute the features of both splits."""
        for dataset in self.datasets:
            self.base.predict(dataset, verbose=0)


class PipelineWay:
    """This package with its defaults."""

    def __init__(self, folder: Path, cache: Path, side: int, precision: str):
        self.folder, self.cache, self.precision = folder, cache, precision
        self.spec = vgg16_spec(side, precision if precision in ("float32", "int8") else "auto")
        self.steps: list[dict[str, float]] = []

    def run(self) -> float:
        """Scan, extract and train; returns the seconds of all three steps."""
        steps: dict[str, float] = {}
        images = _timed(steps, "scan", lambda: scan_images(self.folder))
        with mock.patch("pipeline.conv_base.load.settle_precision", self._settle):
            store = _timed(steps, "features", lambda: extract_features(images, self.cache, self.spec))
        _timed(
            steps,
            "head",
            lambda: make_head("dense").fit(*store.load("train"), validation_data=store.load("validation")),
        )
        shutil.rmtree(self.cache)
        self.steps.append(steps)
        return sum(steps.values())

    def _settle(self, *arguments: Any) -> str:
        """Measure precisions as usual, and return the one that the bench found before for all parts."""
        settle_precision(*arguments)
        return self.precision


def _timed(steps: dict[str, float], name: str, job: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = job()
    steps[name] = time.perf_counter() - start
    return result


def _image_datasets(folder: Path, side: int) -> tuple[Any, Any]:
    import keras

    train, validation = (
        keras.utils.image_dataset_from_directory(
            folder / split, label_mode="binary", image_size=(side, side), batch_size=HEAD_BATCH, verbose=False
        )
        for split in ("train", "validation")
    )
    return train, validation
