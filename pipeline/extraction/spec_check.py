"""Is a store what is asked for? Found out without TensorFlow, and without a lock."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conv_base.spec import WEIGHTS_WORDS, ConvBaseSpec, Difference, compare
from pipeline.errors import StoreDamaged, StoreError, StoreMismatch
from pipeline.files.durable import sha256_of_file
from pipeline.images.augment import Augmentation, View
from pipeline.images.status import Status
from pipeline.images.table import COLUMNS, ImageTable
from pipeline.store import FeatureStore, Manifest, open_features, read_manifest, view_directory, view_numbers
from pipeline.store.layout import MANIFEST
from pipeline.store.views import DROP


def up_to_date(images: ImageTable, directory: Path, spec: ConvBaseSpec) -> FeatureStore | None:
    """The store, if there is nothing at all to be done."""
    if not (directory / MANIFEST).is_file():
        return None
    store = open_features(directory)
    same = _same_images(store.images, images) and store.images.root == images.root
    unfinished = store.pending or store.missing_shards() or not to_retry(store).isdisjoint(store.index.rows.tolist())
    if not same or unfinished or not is_settled(store.manifest, spec):
        return None
    return store


def _same_images(one: ImageTable, other: ImageTable) -> bool:
    return (
        one.classes == other.classes
        and list(one.ids) == list(other.ids)
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)
    )


def to_retry(store: FeatureStore) -> set[int]:
    """Rows whose image was gone or could not be read when it was their turn."""
    again = (Status.UNREADABLE, Status.NEVER_WRITTEN)
    return {bad.row for shard in store.manifest.shards for bad in shard.bad if bad.status in again}


def is_settled(manifest: Manifest, spec: ConvBaseSpec) -> bool:
    """Whether the spec asked for is the store's beyond doubt, without loading the conv base.

    Raises
    ------
    StoreMismatch
        It certainly is not.
    """
    asked = spec.identity()
    if _plain(spec.conv_base) == _plain(manifest.spec["conv_base"]):
        asked["conv_base"] = manifest.spec["conv_base"]
    refuse(compare(manifest.spec, asked, settled=spec.is_resolved))
    cut = manifest.spec["cut"]  # a name, whatever number of blocks was asked for
    return spec.is_resolved or (spec.cut in (cut, manifest.sources.get("cut", cut)) and _same_files(manifest, spec))


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


def refuse(differences: list[Difference], remedy: str = "give another --cache directory, or --rebuild") -> None:
    """Raise StoreMismatch if there are differences."""
    if differences:
        listed = "; ".join(str(difference) for difference in differences)
        raise StoreMismatch(f"the store was made with another spec: {listed}; {remedy}", differences)


def views_to_be(
    directory: Path, count: int | None, augmentation: Augmentation | None, *, rebuild: bool = False
) -> list[View]:
    """The augmented views that a store is to have.

    Parameters
    ----------
    directory : Path
        Of the store, which need not exist yet.
    count : int, optional
        Views, with view 0; as many as there are if not given.
    augmentation : Augmentation, optional
        That of the views there are if not given, and the defaults where there are none.
    rebuild : bool
        Whether the views there are may differ, or be damaged.

    Raises
    ------
    StoreMismatch
        A view that is to stay was made with other settings; `.differences` lists them.
    """
    found = [_stored_view(directory, number, rebuild) for number in view_numbers(directory)]
    if augmentation is None:
        known = [stored for stored in found if stored]
        augmentation = View.of(known[0]).augmentation if known else Augmentation()
    views = [View(number, augmentation) for number in range(1, len(found) + 1 if count is None else count)]
    if not rebuild:
        for stored, view in zip(found, views, strict=False):
            differences = compare({"view": stored}, {"view": view.identity()})
            refuse(differences, "leave --augment out, or drop the views first with --views 1")
    return views


def _stored_view(directory: Path, number: int, rebuild: bool) -> Mapping[str, Any]:
    try:
        return read_manifest(view_directory(directory, number)).spec.get("view") or {}
    except StoreError as error:
        if rebuild:
            return {}
        if isinstance(error, StoreDamaged):
            raise StoreDamaged(f"{error}, or {DROP}") from None
        raise
