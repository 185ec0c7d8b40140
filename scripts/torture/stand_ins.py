"""Replacements for the conv base, in floats and in int8: exact, fast, and with counts that survive a kill."""

import mmap
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from pipeline.conv_base.int8 import Int8ConvBase
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.files.durable import sha256_of, sha256_of_file
from tests.fakes import FakeConvBase

SIDE = 16  # pixels
SPEC = ConvBaseSpec("vgg16", weights="random", size=SIDE, store_dtype="float32")
INT8_MODEL = bytes(range(256))  # stands for a quantised conv base


MAX_PROCESSES = 500  # that compute at the same time


class Tally:
    """Numbers in memory that a child shares with its parent, so that they survive its kill.

    Attributes
    ----------
    process : int
        Number of this process: two that compute at the same time must not add to the same number.
    """

    def __init__(self) -> None:
        self._numbers = np.frombuffer(mmap.mmap(-1, 8 * (1 + MAX_PROCESSES)), np.int64)
        self.process = 0

    @property
    def computed(self) -> int:
        """Number of rows that all processes have computed."""
        return int(self._numbers[1:].sum())

    def add(self, rows: int) -> None:
        """Count rows that this process has computed."""
        self._numbers[1 + self.process % MAX_PROCESSES] += rows

    @property
    def stage(self) -> int:
        """0 before a run, 1 during it, 2 after it; for injected errors, whether one was raised."""
        return int(self._numbers[0])

    @stage.setter
    def stage(self, stage: int) -> None:
        self._numbers[0] = stage

    def clear(self) -> None:
        """Set all numbers to 0."""
        self._numbers[:] = 0


tally = Tally()
_counting = threading.Lock()  # in int8, several threads compute


class CountingConvBase(FakeConvBase):
    """`FakeConvBase` whose features do not depend on the batch in any bit, and which counts in the tally."""

    def __init__(self, spec: ConvBaseSpec):
        super().__init__(spec)
        if spec.is_path:
            self.spec = replace(self.spec, conv_base_sha256=sha256_of_file(Path(spec.conv_base)))

    def compute(self, batch: np.ndarray) -> np.ndarray:
        """(b, h, w, 3) -> (b, 2, 2, 3), float32."""
        return _count_and_compute(batch)


class CountingInterpreter:
    """Takes the place of the interpreter of a quantised conv base; any model will do."""

    def __init__(self, model: bytes): ...

    def run(self, images: np.ndarray) -> np.ndarray:
        """(1, h, w, 3) -> (1, 2, 2, 3), float32."""
        return _count_and_compute(images)


def _quantize(conv_base: CountingConvBase, *_: Any) -> tuple[Int8ConvBase, dict[str, Any]]:
    spec = replace(conv_base.spec, precision="int8", int8_sha256=sha256_of(INT8_MODEL))
    return Int8ConvBase(spec, conv_base.feature_shape, conv_base.sources, INT8_MODEL), {}


def _count_and_compute(batch: np.ndarray) -> np.ndarray:
    with _counting:
        tally.add(int(batch.reshape(len(batch), -1).any(axis=1).sum()))
    return quarters(batch)


def quarters(batch: np.ndarray) -> np.ndarray:
    """Compute the mean colour of each quarter, in 64ths of a level: sums of integers do not depend on the order.

    (b, h, w, 3) -> (b, 2, 2, 3), float32.
    """
    b, h, w, c = batch.shape
    levels = np.rint(batch.astype(np.float64) * 64).reshape(b, 2, h // 2, 2, w // 2, c)
    return (levels.sum(axis=(2, 4)) / (64 * (h // 2) * (w // 2))).astype(np.float32)


def do_nothing() -> None:
    """Take the place of the start of TensorFlow, also on the workers of a cluster."""


def put_in_place(rows_per_shard: int, precision: str) -> None:
    """Replace the conv base, here and in every later child, make shards small, and set the precision of `SPEC`."""
    mock.patch(f"{__name__}.SPEC", replace(SPEC, precision=precision)).start()
    mock.patch("pipeline.conv_base.load.load_conv_base", CountingConvBase).start()
    for module in ("cli.console", "extraction.cluster_engine", "extraction.shard_task"):
        mock.patch(f"pipeline.{module}.start_tensorflow_quietly", do_nothing).start()
    mock.patch("pipeline.extraction.plan.MAX_ROWS", rows_per_shard).start()
    mock.patch("pipeline.extraction.local_engine.quantize_conv_base", _quantize).start()
    mock.patch("pipeline.extraction.local_engine.estimate_int8", lambda *_: None).start()  # it computes, which counts
    mock.patch("pipeline.extraction.probe.IMAGES", ()).start()  # likewise
    mock.patch("pipeline.conv_base.int8.Interpreter", CountingInterpreter).start()
    mock.patch("pipeline.conv_base.int8.check_in_child", lambda *_: None).start()
