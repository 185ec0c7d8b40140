"""`Engine`: where conv bases are loaded and features are computed; in this process, or on a cluster."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.conv_base_loading import ConvBaseDescription
from pipeline.extraction.decode_ahead import Task
from pipeline.extraction.image_counter import ImageCounter
from pipeline.extraction.plan import ExtractionPlan
from pipeline.store import StoreLayout, StoreWriter


class Engine(Protocol):
    """What `StoreFiller` needs; `LocalEngine` documents the methods."""

    def load_new(self, spec: ConvBaseSpec) -> ConvBaseDescription: ...

    def settle_precision(
        self, spec: ConvBaseSpec, tasks: Iterable[Task], calibration: Iterable[Task], rows: int
    ) -> ConvBaseDescription: ...

    def load_again(self, layout: StoreLayout, spec: ConvBaseSpec, is_same: bool) -> ConvBaseDescription: ...

    def load_stored(self, layout: StoreLayout) -> None: ...

    def compute_probe(self, layout: StoreLayout) -> bytes: ...

    def recompute(self, layout: StoreLayout, tasks: Sequence[Task]) -> list[np.ndarray | None]: ...

    def estimate_seconds(self, tasks: Sequence[Task], rows: int) -> float: ...

    def compute(self, writer: StoreWriter, plan: ExtractionPlan, counter: ImageCounter) -> None: ...
