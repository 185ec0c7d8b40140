"""`join_stores`: make one store of the features that several stores have of the same images."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conv_base.int8 import read_model
from pipeline.conv_base.joined_spec import JoinedSpec
from pipeline.errors import StoreDamaged, StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.compute_shards import check_free_space
from pipeline.extraction.conv_base_loading import library_versions
from pipeline.extraction.fill_store import has_exactly
from pipeline.extraction.image_counter import ImageCounter
from pipeline.extraction.plan import make_plan, plan_update, rows_per_shard
from pipeline.files.durable import make_directory, write_durably
from pipeline.images.status import Status
from pipeline.images.table import ImageTable
from pipeline.joined.part_reader import PartReader
from pipeline.store import NO_ROW, FeatureStore, Manifest, StoreWriter, open_features, open_for_writing, read_manifest
from pipeline.store.file_names import INT8_MODEL, MANIFEST, part_directory
from pipeline.text import COMMAND

MAX_NAMED = 5  # images that a store lacks


def join_stores(
    stores: Sequence[FeatureStore | str | os.PathLike[str]],
    directory: str | os.PathLike[str] | None = None,
    *,
    callbacks: Callbacks = SILENT,
) -> FeatureStore:
    """Make or update a store of the features that several stores have of the same images.

    Features are found by the content of the image, averaged over their positions in float32 and concatenated in the
    order of the stores. Ids, labels, splits and groups are those of the first store, of the images that have
    features in all stores. A store that is up to date is only read. The result is a store like any other for heads,
    predictions, exports and reports; augmented views of the stores are not joined.

    Parameters
    ----------
    stores : sequence of FeatureStore or path
        Two or more stores of different conv bases or settings.
    directory : path, optional
        The directory of the joined store; beside the first store, with the names of all, if not given: `a+b`. If it
        holds a store that was joined of others, its features are replaced.
    callbacks : Callbacks, optional
        `images_not_joined`, `join_planned` and `progress` are called.

    Returns
    -------
    FeatureStore
        With flat features of shape (d,), float32: d is the sum of the channels of all stores.

    Raises
    ------
    StoreError
        There are fewer than two stores, two have the same features, one is joined itself or not complete, they have
        no image in common, or `directory` holds a store that is not joined.
    StoreDamaged
        A store is damaged, or the joined one is.
    StoreBusy
        Another process writes to the joined store.
    OSError
        A full disk or an I/O error; finished shards are kept.
    KeyboardInterrupt
        Finished shards are kept; the same call reads the others.
    """
    parts = [store if isinstance(store, FeatureStore) else open_features(Path(store)) for store in stores]
    _check_parts(parts)
    directory = default_directory([part.directory for part in parts]) if directory is None else Path(directory)
    images = _find_images(parts, callbacks)
    spec = JoinedSpec(tuple(part.conv_base_spec for part in parts))
    stored = _open_joined(directory)
    is_other = stored is not None and stored.fingerprint != spec.fingerprint
    if stored is not None and not is_other and has_exactly(stored, images) and _has_parts(stored, parts):
        return stored
    with open_for_writing(directory, rebuild=is_other) as writer:
        _copy_int8(parts, directory)
        return _fill(writer, images, spec, parts, callbacks)


def default_directory(directories: Sequence[Path]) -> Path:
    """Return the directory of a joined store if none is given: beside the first store, with the names of all."""
    absolute = [directory.absolute() for directory in directories]
    return directories[0].parent / "+".join(directory.name for directory in absolute)


def _check_parts(parts: Sequence[FeatureStore]) -> None:
    if len(parts) < 2:
        raise StoreError(f"{len(parts)} stores are given to join; it takes two or more")
    known: dict[str, FeatureStore] = {}
    for part in parts:
        part.check_not_joined()
        if part.spec.view is not None:
            raise StoreError(f"{part.directory} holds augmented copies of images; give the store of the images")
        if part.pending:
            raise StoreError(
                f"{part.directory}: {part.pending} of {len(part.images)} images have no features yet; run "
                f"`{COMMAND} features IMAGES --cache {part.directory}` again, it continues"
            )
        if not len(part.members()):
            raise StoreError(f"{part.directory} has no images with features")
        if other := known.get(part.fingerprint):
            raise StoreError(
                f"{other.directory} and {part.directory} have the same features (fingerprint {part.fingerprint[:12]}); "
                "join stores of different conv bases or settings"
            )
        known[part.fingerprint] = part


def _find_images(parts: Sequence[FeatureStore], callbacks: Callbacks) -> ImageTable:
    """Return the images of the first store that have features in all stores."""
    first, *others = parts
    images = first.images
    has_features = [first.status == Status.OK]
    has_features += [part.rows_by_content().find(images.contents) != NO_ROW for part in others]
    for part, has in zip(parts, has_features, strict=True):
        if len(missing := np.flatnonzero(~has)):
            callbacks.images_not_joined(part, [images.ids[i] for i in missing[:MAX_NAMED].tolist()], len(missing))
    common = np.flatnonzero(reduce(np.logical_and, has_features))
    if not len(common):
        names = " and ".join(str(part.directory) for part in parts)
        raise StoreError(f"{names} have no image in common; make them of the same images")
    return replace(images if len(common) == len(images) else images.take(common), skipped=())


def _open_joined(directory: Path) -> FeatureStore | None:
    """Open the joined store that a directory holds; None if it holds no store."""
    if not (directory / MANIFEST).exists():
        return None
    try:
        is_joined, store = read_manifest(directory).is_joined, open_features(directory)
    except StoreDamaged as error:
        problem = str(error).partition(";")[0]
        raise StoreDamaged(
            f"{problem}; restore it from a copy, or delete {directory / MANIFEST}, and the stores are joined anew"
        ) from None
    if not is_joined:
        raise StoreError(f"{directory} holds a store that is not joined; move it away, or give another directory")
    return store


def _has_parts(stored: FeatureStore, parts: Sequence[FeatureStore]) -> bool:
    """Return whether a joined store knows where its parts are now, and has copies of their int8 conv bases."""
    return stored.manifest.sources == _sources(parts) and not _missing_int8(parts, stored.directory)


def _missing_int8(parts: Sequence[FeatureStore], directory: Path) -> dict[Path, FeatureStore]:
    """Return the copies of int8 conv bases that a joined store lacks, and the part that each is to be copied from."""
    missing = {}
    for number, part in enumerate(parts, 1):
        if part.conv_base_spec.precision == "int8":
            path = part_directory(directory, number) / INT8_MODEL
            try:
                read_model(path, part.conv_base_spec)
            except ValueError:  # it is missing, or that of another store
                missing[path] = part
    return missing


def _copy_int8(parts: Sequence[FeatureStore], directory: Path) -> None:
    """Copy the int8 conv bases of the parts, so that the joined store computes new images wherever it is moved."""
    for path, part in _missing_int8(parts, directory).items():
        model = _read_int8(part)
        make_directory(path.parent)
        write_durably(path, model)


def _read_int8(part: FeatureStore) -> bytes:
    try:
        return read_model(part.int8_model, part.conv_base_spec)
    except ValueError as error:
        raise StoreDamaged(f"{part.int8_model}, the int8 conv base, {error}; restore it from a copy") from None


def _fill(
    writer: StoreWriter, images: ImageTable, spec: JoinedSpec, parts: Sequence[FeatureStore], callbacks: Callbacks
) -> FeatureStore:
    if writer.store is None:
        manifest = _new_manifest(spec, parts)
        plan = make_plan(images, None, (), rows_per_shard=manifest.rows_per_shard)
    else:
        shards = writer.current.shards_in_place()
        manifest = replace(writer.current.manifest, shards=shards, sources=_sources(parts))
        plan = plan_update(images, writer.current)
        callbacks.changes_found(plan.changes)
    writer.begin(replace(manifest, images={"root": str(images.root)}), plan.index)
    if writer.adopt():
        plan = plan_update(images, writer.current)
        writer.begin(writer.current.manifest, plan.index)
    if plan.rows_pending:
        check_free_space(writer.current, plan.rows_pending)
        callbacks.join_planned(plan, writer.current)
        PartReader(parts).compute(writer, plan, ImageCounter("joining", plan.rows_pending, callbacks))
    return writer.commit()


def _new_manifest(spec: JoinedSpec, parts: Sequence[FeatureStore]) -> Manifest:
    width = sum(part.feature_shape[-1] for part in parts)
    return Manifest(
        spec=spec.identity(),
        fingerprint=spec.fingerprint,
        feature_shape=(width,),
        sources=_sources(parts),
        rows_per_shard=rows_per_shard(width * np.dtype(spec.store_dtype).itemsize),
        made_with=library_versions(),
    )


def _sources(parts: Sequence[FeatureStore]) -> dict[str, Any]:
    """Return where the parts are, and where their conv bases came from; see `Manifest.sources`."""
    described = [
        {
            "store": str(part.directory.absolute()),
            "feature_shape": list(part.feature_shape),
            "sources": dict(part.manifest.sources),
        }
        for part in parts
    ]
    return {"parts": described}
