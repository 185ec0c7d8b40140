"""Measure what the syncs cost: run the same extraction with and without them, in turn."""

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from pipeline import ConvBaseSpec, ImageTable, extract_features

from . import children
from .results import Result
from .stand_ins import CountingConvBase

MAX_COST = 0.01  # of stage one with VGG16
TURNS = 3  # pairs of runs; the order within a pair alternates
TURNS_WITH_VGG16 = 9
SPEC = ConvBaseSpec("vgg16", weights="random", size=150)  # float16, so a full shard has 512 rows and 8 MB


class LargeFeatures(CountingConvBase):
    """Features in the shape of VGG16's, at almost no cost."""

    def __init__(self, spec: ConvBaseSpec):
        super().__init__(spec)
        self.feature_shape = (4, 4, 512)

    def compute(self, batch: np.ndarray) -> np.ndarray:
        """(b, 150, 150, 3) -> (b, 4, 4, 512), float32."""
        return np.resize(batch[:, :4, :4], (len(batch), 4, 4, 512)).astype(np.float32)


def measure_syncs(images: ImageTable, work: Path, vgg16: bool) -> Result:
    """Measure stage one with and without syncs; only with VGG16 their share of the time is a promise."""
    base = "VGG16" if vgg16 else "a conv base that takes almost no time"
    result, shares = Result(f"cost of fsync, with {base}"), []
    seconds: dict[bool, list[float]] = {True: [], False: []}
    turns = TURNS_WITH_VGG16 if vgg16 else TURNS
    order = [turn % 4 in (0, 3) for turn in range(2 * turns)]
    for turn, with_syncs in enumerate(order):
        outcome = children.run(_timed, images, work / "synced", vgg16, with_syncs)
        if not result.ran(outcome, "a timed run"):
            return result.done()
        run, syncing, shards = outcome.value
        seconds[with_syncs].append(run)
        if with_syncs:
            shares.append(syncing / run)
            result.tried["shards written with fsync"] += shards
        result.tried["runs"] += 1
        result.show(turn + 1, 2 * turns)
    medians = {synced: statistics.median(runs) for synced, runs in seconds.items()}
    ratios = [synced / plain for synced, plain in zip(seconds[True], seconds[False], strict=True)]
    share, low, middle, high = statistics.median(shares), min(ratios), statistics.median(ratios), max(ratios)
    result.notes.append(
        f"median of {turns} pairs of runs: {medians[True]:.2f} s with fsync, {medians[False]:.2f} s without; "
        f"ratio of a pair {middle:.4f} ({low:.4f} to {high:.4f}); {share:.3%} of the time was spent inside fsync"
    )
    if vgg16:
        result.expect(share <= MAX_COST, f"the syncs take {share:.2%} of the time, more than {MAX_COST:.0%}")
    return result.done()


def _timed(images: ImageTable, cache: Path, vgg16: bool, with_syncs: bool) -> tuple[float, float, int]:
    """Run stage one in a child; return its seconds, the seconds inside fsync and the number of shards."""
    mock.patch.stopall()
    if vgg16:
        _warm_up(images, cache)
    else:
        mock.patch("pipeline.conv_base.load.load_conv_base", LargeFeatures).start()
    shutil.rmtree(cache, ignore_errors=True)
    real, inside = os.fsync, 0.0

    def fsync(descriptor: Any) -> None:
        nonlocal inside
        start = time.perf_counter()
        if with_syncs:
            real(descriptor)
        inside += time.perf_counter() - start

    with mock.patch("os.fsync", fsync):
        start = time.perf_counter()
        store = extract_features(images, cache, SPEC)
        return time.perf_counter() - start, inside, len(store.manifest.shards)


def _warm_up(images: ImageTable, cache: Path) -> None:
    """Import TensorFlow and trace the model before the time is measured."""
    shutil.rmtree(cache, ignore_errors=True)
    extract_features(images.take(np.arange(2)), cache, SPEC)
