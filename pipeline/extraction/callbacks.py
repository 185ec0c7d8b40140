"""What a long step tells whoever watches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.conv_base.spec import ConvBaseSpec
    from pipeline.extraction.plan import Changes, ExtractionPlan
    from pipeline.images.augment import View
    from pipeline.store import FeatureStore


class Progress:
    """Hears of stage one's steps; this one is deaf. Override what you want to know.

    All calls come from the thread that called `extract_features`.
    """

    def found(self, changes: Changes) -> None:
        """How the images differ from what the store was last filled with."""

    def loading(self, spec: ConvBaseSpec) -> None:
        """The conv base is about to be loaded, which takes seconds."""

    def too_coarse(self, precision: str, error: Mapping[str, Any]) -> None:
        """The fastest precision changes features too much, see `Manifest.precision_error`: it will be float32."""

    def planned(self, plan: ExtractionPlan, store: FeatureStore) -> None:
        """All is checked and known; the computing begins when this returns."""

    def views_dropped(self, count: int) -> None:
        """So many augmented views were deleted, as fewer were asked for."""

    def views_planned(self, views: Sequence[View], passes: int, store: FeatureStore) -> None:
        """After `store` its augmented views are filled, in `passes` forward passes; each is `planned` in its turn."""

    def image_done(self) -> None:
        """One more image of `plan.rows_pending` has its features, or has none for good."""

    def bad_image(self, id: str, reason: str) -> None:
        """An image cannot be used."""
