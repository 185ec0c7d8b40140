"""`PartReader`: reads the features of a joined store from the stores that it is made of."""

from collections.abc import Sequence

import numpy as np

from pipeline.conv_base.joined_conv_base import average_positions
from pipeline.errors import StoreError
from pipeline.extraction.conv_base_loading import library_versions
from pipeline.extraction.image_counter import ImageCounter
from pipeline.extraction.plan import ExtractionPlan
from pipeline.heads.rows_on_demand import row_blocks
from pipeline.images.status import Status
from pipeline.store import NO_ROW, BadRow, FeatureStore, ShardContent, StoreLayout, StoreWriter, open_features


class PartReader:
    """Averages the features of several stores over their positions and concatenates them, shard by shard."""

    def __init__(self, parts: Sequence[FeatureStore] = ()):
        self._parts = [(part, part.rows_by_content()) for part in parts]

    def load_stored(self, layout: StoreLayout) -> None:
        """Open the stores of which a joined store was made; StoreError if one is gone or has other features now."""
        parts = []
        for directory, manifest in zip(layout.joined_directories, layout.manifest.parts, strict=True):
            try:
                part = open_features(directory)
            except StoreError as error:
                raise StoreError(
                    f"{layout.directory} is read from its parts, and one of them is not there: {error}"
                ) from None
            if part.fingerprint != manifest.fingerprint:
                raise StoreError(
                    f"{layout.directory} is read from its parts, and {directory} has other features than it had; join "
                    "the stores again"
                )
            parts.append((part, part.rows_by_content()))
        self._parts = parts

    def compute(self, writer: StoreWriter, plan: ExtractionPlan, counter: ImageCounter) -> None:
        """Write the pending shards of a plan whose index is written already."""
        writer.set_maker(library_versions())
        for start, stop in plan.ranges:
            contents = plan.index.contents[start:stop]
            features, is_found = self.read(contents)
            status = np.where(np.isfinite(features).all(axis=1), Status.OK, Status.NOT_FINITE).astype(np.uint8)
            status[~is_found] = Status.NEVER_WRITTEN
            features[status != Status.OK] = 0
            bad = [
                BadRow(start + i, int(status[i]), _reason(status[i]))
                for i in np.flatnonzero(status != Status.OK).tolist()
            ]
            writer.put_shard(ShardContent(start, features, status, contents), tuple(bad))
            counter.advance_by(stop - start)

    def read(self, contents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the features, (n, d) float32, of contents, (n, 32) uint8, and whether all stores have them, (n,)."""
        rows = [row_of.find(contents) for _, row_of in self._parts]
        is_found = np.all([part_rows != NO_ROW for part_rows in rows], axis=0)
        found = np.flatnonzero(is_found)
        features = []
        for (part, _), part_rows in zip(self._parts, rows, strict=True):
            pooled = np.zeros((len(contents), part.feature_shape[-1]), np.float32)
            blocks = row_blocks(part.rows_on_demand(part_rows[found]))
            pooled[found] = np.concatenate([average_positions(block) for block in blocks]) if len(found) else 0
            features.append(pooled)
        return np.concatenate(features, axis=1), is_found


def _reason(status: int) -> str:
    return "features are not finite in float32" if status == Status.NOT_FINITE else "its image is gone"
