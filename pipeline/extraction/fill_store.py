"""Fill or update a store and its views: decide what is missing, write it down, compute it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.conv_base.fingerprint import compare
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.compute_shards import check_free_space
from pipeline.extraction.conv_base_loading import ConvBaseDescription
from pipeline.extraction.decode_ahead import list_tasks
from pipeline.extraction.decode_speed import measure_scaled_decoding
from pipeline.extraction.engine import Engine
from pipeline.extraction.image_counter import ImageCounter
from pipeline.extraction.numerics import check_numbers, with_numerics
from pipeline.extraction.plan import ExtractionPlan, make_plan, plan_update, rows_per_shard, rows_to_retry
from pipeline.extraction.quantize_conv_base import calibration_tasks
from pipeline.extraction.spec_check import check_same_spec, is_surely_same_spec
from pipeline.files.durable import sha256_of
from pipeline.images.augment import View
from pipeline.images.equal_contents import first_equal
from pipeline.images.table import ImageTable
from pipeline.store import (
    FeatureStore,
    Manifest,
    StoreLayout,
    StoreWriter,
    list_staged,
    open_features,
    open_for_writing,
    open_view,
    view_directory,
)
from pipeline.store.file_names import MANIFEST

MAX_MEASURED = 1000  # images that a precision is measured on, should the first ones not be usable


@dataclass
class StoreFiller:
    """Fills a store and its views with the features that an engine computes.

    With `plan_only` it writes the plan of what is missing, and computes nothing. `for_others` tells whether other
    processes compute: then the store gets the `numerics` that they must show; `mixed` admits those that are close.
    """

    engine: Engine
    compression: str | None
    rebuild: bool
    callbacks: Callbacks
    plan_only: bool = False
    for_others: bool = False
    mixed: bool = False
    counter: ImageCounter | None = None  # of all views together

    def fill(
        self, images: ImageTable, directory: Path, spec: ConvBaseSpec, loaded: ConvBaseDescription | None = None
    ) -> FeatureStore:
        """Fill or update a store, or a view, whose conv base is `loaded` if there is something to compute.

        An up-to-date store is neither locked nor written.
        """
        if not self.rebuild and (store := _find_up_to_date(images, directory, spec)):
            return store
        with open_for_writing(directory, rebuild=self.rebuild, on_check=self._on_check) as writer:
            if writer.store is None:
                manifest, plan, files = self._plan_new_store(images, directory, spec, loaded)
            else:
                manifest, plan, files = self._plan_update(images, spec, writer.current)
            writer.begin(replace(manifest, images={"root": str(images.root)}), plan.index, **files)
            if writer.adopt():
                plan = plan_update(images, writer.current)
                writer.begin(writer.current.manifest, plan.index)  # an adopted shard may have rows to compute again
            if plan.rows_pending:
                self._compute(writer, plan, spec)
            return writer.commit()

    def _on_check(self, done: int, total: int) -> None:
        self.callbacks.progress("checking", done, total, "shards")

    def _compute(self, writer: StoreWriter, plan: ExtractionPlan, spec: ConvBaseSpec) -> None:
        if spec.view is None and (seconds := measure_scaled_decoding(plan, writer.current.conv_base_spec)):
            self.callbacks.decoding_measured(*seconds)
        check_free_space(writer.current, plan.rows_pending)
        self.callbacks.extraction_planned(plan, writer.current)
        if self.plan_only:
            tasks = list(islice(list_tasks(plan.index, plan.pending), MAX_MEASURED))
            self.callbacks.duration_estimated(self.engine.estimate_seconds(tasks, plan.rows_pending))
        else:
            counter = self.counter or ImageCounter("features", plan.rows_pending, self.callbacks)
            self.engine.compute(writer, plan, counter)

    def _plan_update(
        self, images: ImageTable, spec: ConvBaseSpec, store: FeatureStore
    ) -> tuple[Manifest, ExtractionPlan, dict[str, bytes]]:
        is_same = is_surely_same_spec(store.manifest, spec)
        files: dict[str, bytes] = {}
        manifest, plan = replace(store.manifest, shards=store.shards_in_place()), plan_update(images, store)
        if spec.view is None:
            self.callbacks.changes_found(plan.changes)
            if plan.rows_pending or not is_same:
                asked = self.engine.load_again(store, spec, is_same=is_same)
                check_same_spec(compare(store.manifest.spec, asked.spec.identity()))
        else:
            check_same_spec(compare(store.manifest.spec, spec.identity()))
        if self.for_others and plan.rows_pending and not manifest.numerics:
            check_numbers(self.engine, store, self.mixed)
            manifest, files["probe"] = with_numerics(self.engine, StoreLayout(store.directory, manifest))
        return manifest, plan, files

    def _plan_new_store(
        self, images: ImageTable, directory: Path, spec: ConvBaseSpec, loaded: ConvBaseDescription | None
    ) -> tuple[Manifest, ExtractionPlan, dict[str, bytes]]:
        described = replace(loaded, spec=spec) if loaded else self.engine.load_new(spec)
        rows = rows_per_shard(math.prod(described.feature_shape) * np.dtype(spec.store_dtype).itemsize)
        plan = make_plan(images, None, (), rows_per_shard=rows)
        if loaded is None:
            tasks = islice(list_tasks(plan.index, plan.pending), MAX_MEASURED)
            described = self.engine.settle_precision(spec, tasks, calibration_tasks(images), plan.rows_pending)
        measured = described.precision_error
        manifest = Manifest(
            spec=described.spec.identity(),
            fingerprint=described.spec.fingerprint,
            feature_shape=described.feature_shape,
            sources=described.sources,
            rows_per_shard=rows,
            made_with=described.made_with,
            compression=self.compression,
            precision_error=measured if math.isfinite(measured.get("relative_l2", 0)) else {},
        )
        files = {}
        if self.for_others:
            manifest, files["probe"] = with_numerics(self.engine, StoreLayout(directory, manifest))
        if described.int8_model is not None:
            files["int8_model"] = described.int8_model
        return manifest, plan, files

    def fill_views(self, store: FeatureStore, images: ImageTable, spec: ConvBaseSpec, views: Sequence[View]) -> None:
        """Fill or update views of some images of a store; `spec` is where its conv base is now."""
        self.compression = store.manifest.compression
        passes = sum(self._count_passes(images, store, view.number) for view in views)
        loaded = None
        if passes:
            check_free_space(store, passes)
            self.callbacks.views_planned(views, passes, store)
            # Before a view has a manifest: the files of the conv base may have changed since the store was filled.
            loaded = self.engine.load_again(store, spec, is_same=True)
            check_same_spec(compare(store.manifest.spec, loaded.spec.identity()))
            self.counter = ImageCounter("views", passes, self.callbacks)
        for view in views:
            directory = view_directory(store.directory, view.number)
            self.fill(images, directory, replace(store.conv_base_spec, view=view), loaded)

    def _count_passes(self, images: ImageTable, store: FeatureStore, number: int) -> int:
        if self.rebuild or not (view_directory(store.directory, number) / MANIFEST).is_file():
            return len(np.unique(first_equal(images.contents)))
        view = open_view(store, number)
        if plan_update(images, view).rows_pending:
            with open_for_writing(view.directory) as writer:  # lists the shards that a killed run could not
                view = writer.current
        return plan_update(images, view).rows_pending


def _find_up_to_date(images: ImageTable, directory: Path, spec: ConvBaseSpec) -> FeatureStore | None:
    """Return the store if it holds exactly what is asked for."""
    if not (directory / MANIFEST).is_file():
        return None
    store = open_features(directory)
    return store if is_surely_same_spec(store.manifest, spec) and has_exactly(store, images) else None


def has_exactly(store: FeatureStore, images: ImageTable) -> bool:
    """Return whether a store has the features of these images, and nothing is left to do; no lock is needed."""
    if images.root != store.images.root:
        return False
    # A plan would tell the same, in seconds for a million images.
    unchanged = sha256_of(replace(store.index, images=images).to_bytes()) == store.manifest.index_sha256
    finished = not store.pending and store.shards_in_place() == store.manifest.shards
    finished = finished and not any(list_staged(store.directory))  # a late process may have left some
    return unchanged and finished and not np.isin(store.index.rows, list(rows_to_retry(store))).any()
