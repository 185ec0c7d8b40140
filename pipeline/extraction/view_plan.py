"""Decide which augmented views a store is to have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.conv_base.fingerprint import compare
from pipeline.errors import StoreDamaged, StoreError
from pipeline.extraction.spec_check import check_same_spec
from pipeline.images.augment import Augmentation, View
from pipeline.store import read_manifest, view_directory, view_numbers
from pipeline.store.views import DROP


def plan_views(
    directory: Path, count: int | None, augmentation: Augmentation | None, *, rebuild: bool = False
) -> list[View]:
    """Return the augmented views that a store is to have.

    `count` includes view 0; the store keeps as many views as it has if it is not given. `augmentation`
    holds the settings of the copies: those of the store's views, or else the defaults, if not given. A view that
    stays and has other settings raises StoreMismatch. With `rebuild`, the store's views may have other settings
    or be damaged, as they are made again.
    """
    stored = [_read_settings(directory, number, rebuild) for number in view_numbers(directory)]
    if augmentation is not None and count is None and not stored:
        raise StoreError(
            f"augmentation settings are given, but {directory} has no augmented views; add --views K to make K - 1 "
            "augmented copies of each train image"
        )
    if augmentation is None:
        known = next((settings for settings in stored if settings), None)
        augmentation = View.from_identity(known).augmentation if known else Augmentation()
    views = [View(number, augmentation) for number in range(1, len(stored) + 1 if count is None else count)]
    if not rebuild:
        for settings, view in zip(stored, views, strict=False):
            differences = compare({"view": settings}, {"view": view.identity()})
            check_same_spec(differences, "leave --augment out, or drop the views first with --views 1")
    return views


def _read_settings(directory: Path, number: int, rebuild: bool) -> Mapping[str, Any]:
    try:
        return read_manifest(view_directory(directory, number)).spec.get("view") or {}
    except StoreError as error:
        if rebuild:
            return {}
        if isinstance(error, StoreDamaged):
            raise StoreDamaged(f"{error}, or {DROP}") from None
        raise
