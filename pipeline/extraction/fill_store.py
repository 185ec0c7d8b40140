"""Fill or update a store and its views: decide what is missing, write it down, compute it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conv_base.fingerprint import compare
from pipeline.conv_base.int8 import Int8ConvBase
from pipeline.conv_base.load import ConvBase
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.compute_shards import ImageCounter, check_free_space, compute_shards, library_versions
from pipeline.extraction.conv_base_loading import (
    MAX_ERROR,
    AnyConvBase,
    load_stored_conv_base,
    load_with_callbacks,
    measure_precision_error,
)
from pipeline.extraction.decode_speed import measure_scaled_decoding
from pipeline.extraction.plan import ExtractionPlan, make_plan, plan_update, rows_per_shard, rows_to_retry
from pipeline.extraction.quantize_conv_base import estimate_int8, quantize_conv_base
from pipeline.extraction.spec_check import check_same_spec, is_surely_same_spec
from pipeline.files.durable import sha256_of
from pipeline.images.augment import View
from pipeline.images.equal_contents import first_equal
from pipeline.images.table import ImageTable
from pipeline.store import FeatureStore, Manifest, open_features, open_for_writing, open_view, view_directory
from pipeline.store.file_names import MANIFEST


@dataclass
class StoreFiller:
    """Fills a store and its views with the features of one conv base, which is loaded when it is needed."""

    batch_size: int
    workers: int | None
    compression: str | None
    rebuild: bool
    callbacks: Callbacks
    conv_base: AnyConvBase | None = None
    counter: ImageCounter | None = None  # of all views together

    def fill(self, images: ImageTable, directory: Path, spec: ConvBaseSpec) -> FeatureStore:
        """Fill or update one store, or one view; an up-to-date one is neither locked nor written."""
        if not self.rebuild and (store := _find_up_to_date(images, directory, spec)):
            return store
        with open_for_writing(directory, rebuild=self.rebuild) as writer:
            if is_new := writer.store is None:
                manifest, plan = self._plan_new_store(images, spec)
            else:
                manifest, plan = self._plan_update(images, spec, writer.current)
            is_new_store = is_new and spec.view is None  # views use the conv base of their store
            model = self.conv_base.model if is_new_store and isinstance(self.conv_base, Int8ConvBase) else None
            writer.begin(replace(manifest, images={"root": str(images.root)}), plan.index, model)
            if writer.adopt():
                plan = plan_update(images, writer.current)
            if plan.rows_pending:
                conv_base = self._load(spec)
                if spec.view is None and (seconds := measure_scaled_decoding(plan, conv_base.spec)):
                    self.callbacks.decoding_measured(*seconds)
                compute_shards(writer, plan, conv_base, self.batch_size, self.workers, self.callbacks, self.counter)
            return writer.commit()

    def _plan_update(
        self, images: ImageTable, spec: ConvBaseSpec, store: FeatureStore
    ) -> tuple[Manifest, ExtractionPlan]:
        is_same = is_surely_same_spec(store.manifest, spec)
        plan = plan_update(images, store)
        if spec.view is None:
            self.callbacks.changes_found(plan.changes)
        if plan.rows_pending or not is_same:
            asked = self._load_for_update(spec, store, is_same=is_same)
            check_same_spec(compare(store.manifest.spec, replace(asked, view=spec.view).identity()))
        return replace(store.manifest, shards=store.shards_in_place()), plan

    def _load_for_update(self, spec: ConvBaseSpec, store: FeatureStore, *, is_same: bool) -> ConvBaseSpec:
        """Load the conv base of a store, and return the spec that was asked for with everything filled in."""
        stored = store.spec  # its sha256 tells which drawing the random weights are of
        if stored.precision != "int8":
            return self._load(replace(spec, precision=stored.precision, weights_sha256=stored.weights_sha256)).spec
        self.conv_base = self.conv_base or load_stored_conv_base(store, self.callbacks)
        if is_same:
            return self.conv_base.spec
        in_float32 = replace(spec, precision="float32", weights_sha256=stored.weights_sha256)
        loaded = load_with_callbacks(replace(in_float32, view=None), self.callbacks)
        return replace(loaded.spec, precision="int8", int8_sha256=stored.int8_sha256)

    def _plan_new_store(self, images: ImageTable, spec: ConvBaseSpec) -> tuple[Manifest, ExtractionPlan]:
        conv_base = self._load(replace(spec, precision="float32") if spec.precision == "int8" else spec)
        shape = conv_base.feature_shape
        rows = rows_per_shard(math.prod(shape) * np.dtype(spec.store_dtype).itemsize)
        plan = make_plan(images, None, (), rows_per_shard=rows)
        measured: dict[str, Any] = {}
        if not isinstance(conv_base, Int8ConvBase) and spec.view is None:  # a view has the conv base of its store
            conv_base, measured = self._settle_precision(conv_base, images, spec, plan)
        resolved = replace(conv_base.spec, view=spec.view)
        manifest = Manifest(
            spec=resolved.identity(),
            fingerprint=resolved.fingerprint,
            feature_shape=shape,
            sources=conv_base.sources,
            rows_per_shard=rows,
            made_with=library_versions(),
            compression=self.compression,
            precision_error=measured if math.isfinite(measured.get("relative_l2", 0)) else {},
        )
        return manifest, plan

    def _settle_precision(
        self, conv_base: ConvBase, images: ImageTable, spec: ConvBaseSpec, plan: ExtractionPlan
    ) -> tuple[AnyConvBase, dict[str, Any]]:
        """Return the conv base of a new store in the precision of its spec, and what was measured of this precision."""
        if spec.precision == "int8":
            self.conv_base, measured = quantize_conv_base(conv_base, images, self.workers, self.callbacks)
            return self.conv_base, measured
        measured = measure_precision_error(conv_base, plan, self.workers)
        if spec.precision == "auto":
            if measured.get("relative_l2", 0) > MAX_ERROR:
                self.callbacks.precision_rejected(conv_base.spec.precision, measured)
                conv_base, measured = load_with_callbacks(replace(spec, precision="float32"), self.callbacks), {}
                self.conv_base = conv_base
            if seconds := estimate_int8(conv_base, plan):
                self.callbacks.int8_recommended(*seconds)
        return conv_base, measured

    def fill_views(self, store: FeatureStore, images: ImageTable, spec: ConvBaseSpec, views: Sequence[View]) -> None:
        """Fill or update views of some images of a store."""
        self.compression = store.manifest.compression
        passes = sum(self._count_passes(images, store, view.number) for view in views)
        if passes:
            check_free_space(store, passes)
            self.callbacks.views_planned(views, passes, store)
            # Before a view has a manifest: the files of the conv base may have changed since the store was filled.
            loaded = self._load_for_update(spec, store, is_same=True)
            check_same_spec(compare(store.manifest.spec, loaded.identity()))
            self.counter = ImageCounter("views", passes, self.callbacks)
        for view in views:
            self.fill(images, view_directory(store.directory, view.number), replace(spec, view=view))

    def _count_passes(self, images: ImageTable, store: FeatureStore, number: int) -> int:
        if self.rebuild or not (view_directory(store.directory, number) / MANIFEST).is_file():
            return len(np.unique(first_equal(images.contents)))
        view = open_view(store, number)
        if plan_update(images, view).rows_pending:
            with open_for_writing(view.directory) as writer:  # lists the shards that a killed run could not
                view = writer.current
        return plan_update(images, view).rows_pending

    def _load(self, spec: ConvBaseSpec) -> AnyConvBase:
        if self.conv_base is None:
            self.conv_base = load_with_callbacks(replace(spec, view=None), self.callbacks)
        return self.conv_base


def _find_up_to_date(images: ImageTable, directory: Path, spec: ConvBaseSpec) -> FeatureStore | None:
    """Return the store if it holds exactly what is asked for."""
    if not (directory / MANIFEST).is_file():
        return None
    store = open_features(directory)
    if not is_surely_same_spec(store.manifest, spec) or images.root != store.images.root:
        return None
    # A plan would tell the same, in seconds for a million images.
    unchanged = sha256_of(replace(store.index, images=images).to_bytes()) == store.manifest.index_sha256
    finished = not store.pending and store.shards_in_place() == store.manifest.shards
    return store if unchanged and finished and not np.isin(store.index.rows, list(rows_to_retry(store))).any() else None
