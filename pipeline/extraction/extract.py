"""Stage one: run the frozen conv base once over every image and keep its features."""

from __future__ import annotations

import contextlib
import logging
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.conv_base.spec import ConvBaseSpec, compare
from pipeline.defaults import EXTRACT_BATCH
from pipeline.errors import StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.loop import ImageCounter, first_pixels, rows_of, tasks_of, write_shards
from pipeline.extraction.plan import ExtractionPlan, make_plan, rows_per_shard
from pipeline.extraction.spec_check import is_settled, refuse, to_retry, up_to_date, views_to_be
from pipeline.images.augment import Augmentation, View
from pipeline.images.decode import DECODER
from pipeline.images.table import ImageTable
from pipeline.store import (
    FeatureStore,
    Manifest,
    StoreWriter,
    drop_views,
    open_for_writing,
    open_view,
    view_directory,
)
from pipeline.store.layout import MANIFEST

if TYPE_CHECKING:
    from pipeline.conv_base.load import ConvBase

logger = logging.getLogger(__name__)
COMPRESSIONS = ("none", "gzip")
MAX_ERROR = 0.05  # relative L2, with which precision `auto` puts up: VGG16's is 0.007 in bfloat16
COMPARED = 8  # images whose features are computed in float32 too: a second or so, once in a store's life


def extract_features(
    images: ImageTable,
    directory: str | Path,
    spec: ConvBaseSpec | None = None,
    *,
    views: int | None = None,
    augmentation: Augmentation | None = None,
    batch_size: int = EXTRACT_BATCH,
    workers: int | None = None,
    compression: str = "none",
    rebuild: bool = False,
    callbacks: Callbacks = SILENT,
) -> FeatureStore:
    """Fill or update the store at `directory`; a no-op when it is up to date.

    Parameters
    ----------
    images : ImageTable
        Of `scan_images`.
    directory : path
        Made if it does not exist.
    spec : ConvBaseSpec, optional
        VGG16 at 150x150 with ImageNet weights if not given.
    views : int, optional
        Views of each train image that the store is to have: view 0, the image itself, and
        `views - 1` augmented copies. Those there are already are kept up to date if it is not
        given; those above it are deleted.
    augmentation : Augmentation, optional
        Of the copies; that of the views there are, or its defaults, if not given.
    batch_size : int
        Images a forward pass; changes no value.
    workers : int, optional
        Threads that decode images; one a core if not given.
    compression : {"none", "gzip"}
        Of a new store's shards; compressed ones cannot be memory-mapped.
    rebuild : bool
        Drop what the store holds and compute everything again.
    callbacks : Callbacks, optional

    Returns
    -------
    FeatureStore
        `.bad` lists the images without features; `open_views(store)` gives the stores of the copies.

    Raises
    ------
    StoreMismatch
        The store or a view was made with another spec; `.differences` lists the fields.
    StoreBusy, StoreError, StoreDamaged
        Another process writes to it; it cannot be written to; it is damaged.
    SpecError
        The conv base cannot be made.
    OSError
        A full disk or an I/O error; what was finished is kept.
    KeyboardInterrupt
        What was finished is kept; the same call goes on from there.
    """
    directory = Path(directory)
    spec = replace(spec or ConvBaseSpec(), decoder=DECODER)
    if compression not in COMPRESSIONS or batch_size < 1 or (views is not None and views < 1):
        raise StoreError(f"compression {compression!r}, batch_size {batch_size} or views {views} is out of range")
    to_be = views_to_be(directory, views, augmentation, rebuild=rebuild) if views != 1 else []
    job = _Job(batch_size, workers, None if compression == "none" else compression, rebuild, callbacks)
    store = job.fill(images, directory, spec)
    if dropped := drop_views(directory, len(to_be) + 1):
        callbacks.views_dropped(dropped)
    if to_be and len(members := store.members("train")):
        asked = replace(store.spec, conv_base=spec.conv_base, weights=spec.weights)  # which may be in a new place
        job.fill_views(store, replace(images.take(members), skipped=()), asked, to_be)
    return store


@dataclass
class _Job:
    """What filling a store and filling its views have in common, the loaded conv base too."""

    batch_size: int
    workers: int | None
    compression: str | None
    rebuild: bool
    callbacks: Callbacks
    conv_base: ConvBase | None = None
    views: ImageCounter | None = None  # of all views together, once they are computed

    def load(self, spec: ConvBaseSpec) -> ConvBase:
        """The conv base, loaded when it is first needed; one for a store and its views."""
        if self.conv_base is None:
            self.conv_base = _load(replace(spec, view=None), self.callbacks)
        return self.conv_base

    def load_another(self, spec: ConvBaseSpec) -> ConvBase:
        """The conv base of another spec instead."""
        self.conv_base = None
        return self.load(spec)

    def fill(self, images: ImageTable, directory: Path, spec: ConvBaseSpec) -> FeatureStore:
        """Fill or update one store."""
        if not self.rebuild and (store := up_to_date(images, directory, spec)):
            return store
        with open_for_writing(directory, rebuild=self.rebuild) as writer:
            plan, conv_base = _put_plan_in_place(writer, images, spec, self)
            if conv_base is not None and plan.rows_pending:
                compute_plan(
                    writer,
                    plan,
                    conv_base,
                    batch_size=self.batch_size,
                    workers=self.workers,
                    callbacks=self.callbacks,
                    counter=self.views,
                )
            return writer.current

    def fill_views(self, store: FeatureStore, images: ImageTable, spec: ConvBaseSpec, views: Sequence[View]) -> None:
        """Fill or update views of some images of a store."""
        self.compression = store.manifest.compression
        passes = sum(self._passes(images, store, view.number) for view in views)
        if passes:
            _check_room(store, passes)
            self.callbacks.views_planned(views, passes, store)
            refuse(compare(store.manifest.spec, self.load(spec).spec.identity()))  # before a view has a manifest
            self.views = ImageCounter("views", passes, self.callbacks)
        for view in views:
            self.fill(images, view_directory(store.directory, view.number), replace(spec, view=view))

    def _passes(self, images: ImageTable, store: FeatureStore, number: int) -> int:
        if self.rebuild or not (view_directory(store.directory, number) / MANIFEST).is_file():
            return len(set(images.content_keys()))
        return _plan(images, open_view(store, number)).rows_pending


def load_stored_conv_base(store: FeatureStore, callbacks: Callbacks) -> ConvBase:
    """The conv base that a store was made with, from where it came from.

    Raises
    ------
    SpecError
        Its file is gone, or the weights cannot be downloaded.
    StoreMismatch
        What is there now is another one.
    """
    conv_base = _load(store.spec, callbacks)
    sources = ", ".join(dict.fromkeys(store.manifest.sources[name] for name in ("conv_base", "weights")))
    remedy = f"put back what {sources} was when {store.directory} was made"
    refuse(compare(store.manifest.spec, conv_base.spec.identity()), remedy)
    return conv_base


def compute_plan(
    writer: StoreWriter,
    plan: ExtractionPlan,
    conv_base: ConvBase,
    *,
    batch_size: int,
    workers: int | None,
    callbacks: Callbacks,
    counter: ImageCounter | None = None,
) -> None:
    """Compute and write the pending shards of a plan whose index is in place."""
    store = writer.current
    _announce(plan, store, callbacks)
    tasks = tasks_of(plan.index, plan.pending, store.spec.view)
    counter = counter or ImageCounter("features", plan.rows_pending, callbacks)
    with contextlib.closing(rows_of(tasks, conv_base, store.dtype, batch_size=batch_size, workers=workers)) as rows:
        write_shards(writer, store, plan.pending, rows, counter)


def _put_plan_in_place(
    writer: StoreWriter, images: ImageTable, spec: ConvBaseSpec, job: _Job
) -> tuple[ExtractionPlan, ConvBase | None]:
    """Decide what to do and write it down; the conv base is loaded only if it is needed."""
    store, conv_base, plan = writer.store, None, None
    if store is not None:
        settled = is_settled(store.manifest, spec)
        plan = _plan(images, store)
        if spec.view is None:
            job.callbacks.changes_found(plan.changes)
        if plan.rows_pending or not settled:
            conv_base = job.load(replace(spec, precision=store.spec.precision))
            refuse(compare(store.manifest.spec, replace(conv_base.spec, view=spec.view).identity()))
        manifest = replace(store.manifest, shards=_good_shards(store))
    else:
        conv_base = job.load(spec)
        manifest = _new_manifest(conv_base, spec.view, job.compression)
        plan = make_plan(images, None, (), rows_per_shard=manifest.rows_per_shard)
        if spec.view is None and conv_base.spec.precision != "float32":  # a view's would be the same
            error = _precision_error(conv_base, plan, job.workers)
            if spec.precision == "auto" and error.get("relative_l2", 0) > MAX_ERROR:
                job.callbacks.precision_rejected(conv_base.spec.precision, error)
                conv_base, error = job.load_another(replace(spec, precision="float32")), {}
                manifest = _new_manifest(conv_base, spec.view, job.compression)
            manifest = replace(manifest, precision_error=error)
    writer.begin(replace(manifest, images={"root": str(images.root)}), plan.index)
    if writer.adopt():
        plan = _plan(images, writer.current)
    return plan, conv_base


def _precision_error(conv_base: ConvBase, plan: ExtractionPlan, workers: int | None) -> dict[str, Any]:
    """See `Manifest.precision_error`."""
    images = first_pixels(tasks_of(plan.index, plan.pending), conv_base, COMPARED, workers)
    return {"relative_l2": conv_base.error_against_float32(images), "images": len(images)} if len(images) else {}


def _plan(images: ImageTable, store: FeatureStore) -> ExtractionPlan:
    finished = {(shard.start, shard.stop) for shard in _good_shards(store)}
    return make_plan(images, store.index, finished, rows_per_shard=store.manifest.rows_per_shard, retry=to_retry(store))


def _good_shards(store: FeatureStore) -> tuple[Any, ...]:
    missing = store.missing_shards()
    return tuple(shard for shard in store.manifest.shards if shard not in missing)


def _load(spec: ConvBaseSpec, callbacks: Callbacks) -> ConvBase:
    from pipeline.conv_base.load import load_conv_base  # imports TensorFlow

    callbacks.conv_base_loading(spec)
    return load_conv_base(spec)


def _new_manifest(conv_base: ConvBase, view: View | None, compression: str | None) -> Manifest:
    spec = replace(conv_base.spec, view=view)
    bytes_per_row = int(np.prod(conv_base.feature_shape)) * np.dtype(spec.store_dtype).itemsize
    packages = ("tensorflow", "keras", "numpy", "h5py", "pillow")
    return Manifest(
        spec=spec.identity(),
        fingerprint=spec.fingerprint,
        feature_shape=conv_base.feature_shape,
        sources=conv_base.sources,
        rows_per_shard=rows_per_shard(bytes_per_row),
        made_with={**{name: version(name) for name in packages}, "machine": platform.platform()},
        compression=compression,
    )


def _announce(plan: ExtractionPlan, store: FeatureStore, callbacks: Callbacks) -> None:
    _check_room(store, plan.rows_pending)
    callbacks.extraction_planned(plan, store)


def _check_room(store: FeatureStore, rows: int) -> None:
    bytes_needed = rows * store.bytes_per_row
    free = shutil.disk_usage(store.directory).free
    if bytes_needed > free:
        raise StoreError(
            f"{store.directory} needs {bytes_needed / 1e9:.1f} GB for {rows} images and "
            f"{free / 1e9:.1f} GB are free; make room or give another --cache directory"
        )
