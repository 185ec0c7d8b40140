"""Stage one: run the frozen conv base once over every image and keep its features."""

from __future__ import annotations

import contextlib
import logging
import platform
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.decode import DECODER
from pipeline.defaults import EXTRACT_BATCH
from pipeline.durable import sha256_of_file
from pipeline.errors import StoreError, StoreMismatch
from pipeline.plan import Plan, make_plan, rows_per_shard
from pipeline.progress import Progress
from pipeline.rows import first_pixels, rows_of, tasks_of, write_shards
from pipeline.spec import WEIGHTS_WORDS, ConvBaseSpec, Difference, compare
from pipeline.status import Status
from pipeline.store import FeatureStore, Manifest, StoreWriter, open_features, open_for_writing
from pipeline.store.manifest import MANIFEST
from pipeline.table import COLUMNS, ImageTable

if TYPE_CHECKING:
    from pipeline.conv_base import ConvBase

logger = logging.getLogger(__name__)
COMPRESSIONS = ("none", "gzip")


def extract_features(
    images: ImageTable,
    directory: str | Path,
    spec: ConvBaseSpec | None = None,
    *,
    batch_size: int = EXTRACT_BATCH,
    workers: int | None = None,
    compression: str = "none",
    rebuild: bool = False,
    progress: Progress | None = None,
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
    batch_size : int
        Images a forward pass; changes no value.
    workers : int, optional
        Threads that decode images; one a core if not given.
    compression : {"none", "gzip"}
        Of a new store's shards; compressed ones cannot be memory-mapped.
    rebuild : bool
        Drop what the store holds and compute everything again.
    progress : Progress, optional

    Returns
    -------
    FeatureStore
        `.bad` lists the images without features.

    Raises
    ------
    StoreMismatch
        The store was made with another spec; `.differences` lists the fields.
    StoreBusy, StoreError, StoreDamaged
        Another process writes to it; it cannot be written to; it is damaged.
    SpecError
        The conv base cannot be made.
    OSError
        A full disk or an I/O error; what was finished is kept.
    KeyboardInterrupt
        What was finished is kept; the same call goes on from there.
    """
    directory, progress = Path(directory), progress or Progress()
    spec = replace(spec or ConvBaseSpec(), decoder=DECODER)
    if compression not in COMPRESSIONS or batch_size < 1:
        raise StoreError(f"compression {compression!r} or batch_size {batch_size} is out of range")
    if not rebuild and (store := _up_to_date(images, directory, spec)):
        return store
    with open_for_writing(directory, rebuild=rebuild) as writer:
        layout = {"compression": None if compression == "none" else compression}
        plan, conv_base = _put_plan_in_place(writer, images, spec, layout, workers, progress)
        if conv_base is not None and plan.rows_pending:
            compute_plan(writer, plan, conv_base, batch_size=batch_size, workers=workers, progress=progress)
        return writer.current


def load_stored_conv_base(store: FeatureStore, progress: Progress) -> ConvBase:
    """The conv base that a store was made with, from where it came from.

    Raises
    ------
    SpecError
        Its file is gone, or the weights cannot be downloaded.
    StoreMismatch
        What is there now is another one.
    """
    conv_base = _load(store.spec, progress)
    sources = ", ".join(dict.fromkeys(store.manifest.sources[name] for name in ("conv_base", "weights")))
    remedy = f"put back what {sources} was when {store.directory} was made"
    _refuse(compare(store.manifest.spec, conv_base.spec.identity()), remedy)
    return conv_base


def compute_plan(
    writer: StoreWriter,
    plan: Plan,
    conv_base: ConvBase,
    *,
    batch_size: int,
    workers: int | None,
    progress: Progress,
) -> None:
    """Compute and write the pending shards of a plan whose index is in place."""
    store = writer.current
    _announce(plan, store, progress)
    tasks = tasks_of(plan.index, plan.pending)
    with contextlib.closing(rows_of(tasks, conv_base, store.dtype, batch_size=batch_size, workers=workers)) as rows:
        write_shards(writer, store, plan.pending, rows, progress)


def _up_to_date(images: ImageTable, directory: Path, spec: ConvBaseSpec) -> FeatureStore | None:
    """The store, if there is nothing at all to be done; found out without a lock and without TensorFlow."""
    if not (directory / MANIFEST).is_file():
        return None
    store = open_features(directory)
    same = _same_images(store.images, images) and store.images.root == images.root
    unfinished = store.pending or store.missing_shards() or not _retry(store).isdisjoint(store.index.rows.tolist())
    if not same or unfinished or not _settled(store.manifest, spec):
        return None
    return store


def _same_images(one: ImageTable, other: ImageTable) -> bool:
    return (
        one.classes == other.classes
        and list(one.ids) == list(other.ids)
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)
    )


def _retry(store: FeatureStore) -> set[int]:
    """Rows whose image was gone or could not be read when it was their turn."""
    again = (Status.UNREADABLE, Status.NEVER_WRITTEN)
    return {bad.row for shard in store.manifest.shards for bad in shard.bad if bad.status in again}


def _settled(manifest: Manifest, spec: ConvBaseSpec) -> bool:
    """Whether the spec asked for is the store's beyond doubt, without loading the conv base.

    Raises
    ------
    StoreMismatch
        It certainly is not.
    """
    asked = spec.identity()
    if _plain(spec.conv_base) == _plain(manifest.spec["conv_base"]):
        asked["conv_base"] = manifest.spec["conv_base"]
    _refuse(compare(manifest.spec, asked, settled=False))
    return spec.cut == manifest.spec["cut"] and _same_files(manifest, spec)


def _same_files(manifest: Manifest, spec: ConvBaseSpec) -> bool:
    if spec.is_file:
        return _file_is(spec.conv_base, manifest.spec["conv_base_sha256"])
    if spec.weights in WEIGHTS_WORDS:
        return bool(spec.weights == manifest.sources["weights"])
    return _file_is(spec.weights, manifest.sources.get("weights_file_sha256"))


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _file_is(path: str, sha256: object) -> bool:
    return sha256 is not None and Path(path).is_file() and sha256_of_file(Path(path)) == sha256


def _refuse(differences: list[Difference], remedy: str = "give another --cache directory, or --rebuild") -> None:
    if differences:
        listed = "; ".join(str(difference) for difference in differences)
        raise StoreMismatch(f"the store was made with another spec: {listed}; {remedy}", differences)


def _put_plan_in_place(
    writer: StoreWriter,
    images: ImageTable,
    spec: ConvBaseSpec,
    layout: Mapping[str, Any],
    workers: int | None,
    progress: Progress,
) -> tuple[Plan, ConvBase | None]:
    """Decide what to do and write it down; the conv base is loaded only if it is needed."""
    store, conv_base, plan = writer.store, None, None
    if store is not None:
        settled = _settled(store.manifest, spec)
        plan = _plan(images, store)
        progress.found(plan.changes)
        if plan.rows_pending or not settled:
            conv_base = _load(replace(spec, precision=store.spec.precision), progress)
            _refuse(compare(store.manifest.spec, conv_base.spec.identity()))
        manifest = replace(store.manifest, shards=_good_shards(store))
    else:
        conv_base = _load(spec, progress)
        manifest = _new_manifest(conv_base, layout)
        plan = make_plan(images, None, (), rows_per_shard=manifest.rows_per_shard)
        manifest = replace(manifest, precision_error=_precision_error(conv_base, plan, workers))
    writer.begin(replace(manifest, images={"root": str(images.root)}), plan.index)
    if writer.adopt():
        plan = _plan(images, writer.current)
    return plan, conv_base


def _precision_error(conv_base: ConvBase, plan: Plan, workers: int | None) -> dict[str, Any]:
    """See `Manifest.precision_error`; measured on the first batch, in the seconds that two batches take."""
    if conv_base.spec.precision == "float32":
        return {}
    images = first_pixels(tasks_of(plan.index, plan.pending), conv_base, EXTRACT_BATCH, workers)
    return {"relative_l2": conv_base.error_against_float32(images), "images": len(images)} if len(images) else {}


def _plan(images: ImageTable, store: FeatureStore) -> Plan:
    finished = {(shard.start, shard.stop) for shard in _good_shards(store)}
    return make_plan(images, store.index, finished, rows_per_shard=store.manifest.rows_per_shard, retry=_retry(store))


def _good_shards(store: FeatureStore) -> tuple[Any, ...]:
    missing = store.missing_shards()
    return tuple(shard for shard in store.manifest.shards if shard not in missing)


def _load(spec: ConvBaseSpec, progress: Progress) -> ConvBase:
    from pipeline.conv_base import load_conv_base  # imports TensorFlow

    progress.loading(spec)
    return load_conv_base(spec)


def _new_manifest(conv_base: ConvBase, layout: Mapping[str, Any]) -> Manifest:
    spec = conv_base.spec
    bytes_per_row = int(np.prod(conv_base.feature_shape)) * np.dtype(spec.store_dtype).itemsize
    packages = ("tensorflow", "keras", "numpy", "h5py", "pillow")
    return Manifest(
        spec=spec.identity(),
        fingerprint=spec.fingerprint,
        feature_shape=conv_base.feature_shape,
        sources=conv_base.sources,
        rows_per_shard=rows_per_shard(bytes_per_row),
        made_with={**{name: version(name) for name in packages}, "machine": platform.platform()},
        **layout,
    )


def _announce(plan: Plan, store: FeatureStore, progress: Progress) -> None:
    bytes_needed = plan.rows_pending * store.bytes_per_row
    free = shutil.disk_usage(store.directory).free
    if bytes_needed > free:
        raise StoreError(
            f"{store.directory} needs {bytes_needed / 1e9:.1f} GB for {plan.rows_pending} images and "
            f"{free / 1e9:.1f} GB are free; make room or give another --cache directory"
        )
    progress.planned(plan, store)
