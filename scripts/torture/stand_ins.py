"""What stands in for the conv base: exact, cheap, and keeping count where a killed child cannot take it along."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.files.durable import sha256_of_file
from tests.fakes import FakeConvBase

SIDE = 16  # pixels
SPEC = ConvBaseSpec("vgg16", weights="random", size=SIDE, store_dtype="float32")


class Tally:
    """Numbers in memory that a child shares with its parent and leaves behind when it is killed."""

    def __init__(self) -> None:
        self._numbers = np.frombuffer(mmap.mmap(-1, 16), np.int64)

    @property
    def computed(self) -> int:
        """Rows that went through the conv base."""
        return int(self._numbers[0])

    @computed.setter
    def computed(self, rows: int) -> None:
        self._numbers[0] = rows

    @property
    def stage(self) -> int:
        """0 before a run, 1 in it, 2 after it; or whether a fault was injected."""
        return int(self._numbers[1])

    @stage.setter
    def stage(self, stage: int) -> None:
        self._numbers[1] = stage

    def clear(self) -> None:
        """Before another child starts."""
        self._numbers[:] = 0


tally = Tally()


class CountingConvBase(FakeConvBase):
    """`FakeConvBase`, to the last bit the same for any batch, and with a tally that outlives it."""

    def __init__(self, spec: ConvBaseSpec):
        super().__init__(spec)
        if spec.is_file:
            self.spec = replace(self.spec, conv_base_sha256=sha256_of_file(Path(spec.conv_base)))

    def compute(self, batch: np.ndarray) -> np.ndarray:
        """(b, h, w, 3) -> (b, 2, 2, 3), float32."""
        tally.computed += int(batch.reshape(len(batch), -1).any(axis=1).sum())
        return quarters(batch)


def quarters(batch: np.ndarray) -> np.ndarray:
    """The mean colour of each quarter, in 64ths of a level: sums of integers have no order.

    (b, h, w, 3) -> (b, 2, 2, 3), float32.
    """
    b, h, w, c = batch.shape
    levels = np.rint(batch.astype(np.float64) * 64).reshape(b, 2, h // 2, 2, w // 2, c)
    return (levels.sum(axis=(2, 4)) / (64 * (h // 2) * (w // 2))).astype(np.float32)


def put_in_place(rows_per_shard: int) -> None:
    """From now on stage one, here and in every child, runs without TensorFlow and in small shards."""
    mock.patch("pipeline.conv_base.load.load_conv_base", CountingConvBase).start()
    mock.patch("pipeline.cli.console.start_tensorflow_quietly", lambda: None).start()
    mock.patch("pipeline.extraction.plan.MAX_ROWS", rows_per_shard).start()
