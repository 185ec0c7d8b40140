"""`LocalEngine`: loads a conv base and computes features in this process."""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from pipeline.conv_base import load
from pipeline.conv_base.int8 import Int8ConvBase
from pipeline.conv_base.onnx_conv_base import OnnxConvBase
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import StoreMismatch
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.compute_shards import compute_shards
from pipeline.extraction.conv_base_loading import (
    MAX_ERROR,
    AnyConvBase,
    ConvBaseDescription,
    library_versions,
    load_stored_conv_base,
    load_with_callbacks,
    measure_precision_error,
)
from pipeline.extraction.decode_ahead import Task, list_tasks
from pipeline.extraction.image_counter import ImageCounter
from pipeline.extraction.numerics import find_numerics_problem, made_with
from pipeline.extraction.plan import ExtractionPlan
from pipeline.extraction.probe import compute_probe
from pipeline.extraction.quantize_conv_base import (
    estimate_int8,
    float_images_per_second,
    quantize_conv_base,
    random_images,
    seconds_to_decode,
)
from pipeline.extraction.run_conv_base import compute_tasks
from pipeline.store import StoreLayout, StoreWriter


class LocalEngine:
    """Loads a conv base when it is needed, keeps it, and computes features with it."""

    def __init__(self, batch_size: int, workers: int | None, callbacks: Callbacks, *, mixed: bool = False):
        self.batch_size, self.workers, self.callbacks, self.mixed = batch_size, workers, callbacks, mixed
        self.conv_base: AnyConvBase | None = None
        self._probes: dict[str, bytes] = {}  # by the fingerprint of the store or view

    def load_new(self, spec: ConvBaseSpec) -> ConvBaseDescription:
        """Load the conv base of a new store; in float32 if it is to be quantised, see `settle_precision`."""
        in_floats = replace(spec, precision="float32") if spec.precision == "int8" else spec
        self.conv_base = load_with_callbacks(in_floats, self.callbacks)
        return ConvBaseDescription.of(self.conv_base)

    def settle_precision(
        self, spec: ConvBaseSpec, tasks: Iterable[Task], calibration: Iterable[Task], rows: int
    ) -> ConvBaseDescription:
        """Bring the conv base of a new store to the precision of its spec; measure what this precision costs.

        `tasks` are the first images of the store, `calibration` those that int8 is calibrated on, and `rows` is the
        number of forward passes to make.
        """
        conv_base, tasks = self._floats(), list(tasks)
        if isinstance(conv_base, OnnxConvBase):
            return ConvBaseDescription.of(conv_base)  # it computes in float32
        if spec.precision == "int8":
            self.conv_base, measured = quantize_conv_base(conv_base, calibration, self.workers, self.callbacks)
            return ConvBaseDescription.of(self.conv_base, measured)
        measured = measure_precision_error(conv_base, tasks, self.workers)
        if spec.precision == "auto":
            if measured.get("relative_l2", 0) > MAX_ERROR:
                self.callbacks.precision_rejected(conv_base.spec.precision, measured)
                self.callbacks.conv_base_loading(spec)
                conv_base, measured = load.load_conv_base(replace(spec, precision="float32")), {}
                self.conv_base = conv_base
            if seconds := estimate_int8(conv_base, tasks, rows):
                self.callbacks.int8_recommended(*seconds)
        return ConvBaseDescription.of(conv_base, measured)

    def load_again(self, layout: StoreLayout, spec: ConvBaseSpec, is_same: bool) -> ConvBaseDescription:
        """Load the conv base of a store, and describe it with the spec that was asked for, everything filled in.

        `is_same` tells that the spec is surely that of the store. If its precision is int8, the conv base is not
        loaded from elsewhere then.
        """
        stored = replace(layout.conv_base_spec, view=None)  # its sha256 tells which drawing the random weights are of
        if stored.precision != "int8":
            as_stored = replace(spec, precision=stored.precision, weights_sha256=stored.weights_sha256, view=None)
            self.conv_base = self.conv_base or load_with_callbacks(as_stored, self.callbacks)
            return ConvBaseDescription.of(self.conv_base)
        self.conv_base = self.conv_base or load_stored_conv_base(layout, self.callbacks)
        described = replace(ConvBaseDescription.of(self.conv_base), int8_model=None)  # the store has it
        if is_same:
            return described
        in_float32 = replace(spec, precision="float32", weights_sha256=stored.weights_sha256, view=None)
        asked = load_with_callbacks(in_float32, self.callbacks).spec
        return replace(described, spec=replace(asked, precision="int8", int8_sha256=stored.int8_sha256))

    def load_stored(self, layout: StoreLayout) -> None:
        """Load the conv base of a store from where it came from; it must not have changed since."""
        self.conv_base = load_stored_conv_base(layout, self.callbacks)

    def compute_probe(self, layout: StoreLayout) -> bytes:
        """Return the shard of the probe images, which is computed once; see `compute_probe`."""
        if layout.fingerprint not in self._probes:
            self._probes[layout.fingerprint] = compute_probe(self.loaded(), layout, self.batch_size)
        return self._probes[layout.fingerprint]

    def recompute(self, layout: StoreLayout, tasks: Sequence[Task]) -> list[np.ndarray | None]:
        """Compute the features of some images in the dtype of a store; None for those that cannot be used."""
        rows = compute_tasks(tasks, layout, self.loaded().compute, batch_size=self.batch_size, workers=self.workers)
        return [row.features for row in rows]

    def estimate_seconds(self, tasks: Sequence[Task], rows: int) -> float:
        """Estimate how long `rows` images take, by measuring the decoding of the first ones and the conv base."""
        conv_base = self.loaded()
        if isinstance(conv_base, Int8ConvBase):
            rate = conv_base.images_per_second(random_images(conv_base, 1)[0])
        else:
            rate = float_images_per_second(conv_base)
        return rows * (seconds_to_decode(conv_base.spec, tasks) + 1 / rate)

    def compute(self, writer: StoreWriter, plan: ExtractionPlan, counter: ImageCounter) -> None:
        """Compute and write the pending shards of a plan whose index is written already."""
        layout = writer.current
        writer.set_maker(self._check_numerics(layout) if layout.manifest.numerics else library_versions())
        shards = compute_shards(
            plan.ranges,
            list_tasks(plan.index, plan.pending, layout.spec.view),
            layout,
            self.loaded(),
            batch_size=self.batch_size,
            workers=self.workers,
            on_row=counter.advance,
        )
        with contextlib.closing(shards):
            for content, bad in shards:
                # Not written in a thread: a kill would cost two shards, the one being written and the next one.
                writer.put_shard(content, bad)

    def _check_numerics(self, layout: StoreLayout) -> dict[str, str]:
        """Return the maker of the next shards of a store that other machines have worked on."""
        probe = self.compute_probe(layout)
        if problem := find_numerics_problem(probe, layout, self.mixed):
            raise StoreMismatch(f"{layout.directory} cannot be continued here: {problem}")
        return made_with(probe, layout)

    def loaded(self) -> AnyConvBase:
        """Return the conv base; one of the methods that load it must have been called."""
        if self.conv_base is None:
            raise RuntimeError("no conv base is loaded")
        return self.conv_base

    def _floats(self) -> load.FloatConvBase:
        conv_base = self.loaded()
        if isinstance(conv_base, Int8ConvBase):
            raise RuntimeError("the conv base is quantised already")
        return conv_base
