"""`RowsByContent`: does a store have the features of this very image already, and in which row?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.images.status import Status
from pipeline.store.index import NO_ROW

if TYPE_CHECKING:
    from pipeline.store.reading import FeatureStore


class RowsByContent:
    """Finds the row of an image by the sha256 of its bytes; takes 16 bytes of memory a row.

    Parameters
    ----------
    store : FeatureStore
    """

    def __init__(self, store: FeatureStore):
        rows = np.flatnonzero(store.row_status == Status.OK)
        # The first 8 bytes of a sha256 are enough to find it by, if the rest is compared.
        keys = np.ascontiguousarray(store.index.contents[rows, :8]).view(">u8").reshape(-1).astype(np.uint64)
        order = np.argsort(keys)
        self._contents, self._keys, self._rows = store.index.contents, keys[order], rows[order]

    def __call__(self, content: bytes) -> int:
        """The row of the image with this sha256, 32 bytes; `NO_ROW` where none has features."""
        key = np.uint64(int.from_bytes(content[:8], "big"))
        at = int(np.searchsorted(self._keys, key))
        if at < len(self._rows) and self._contents[self._rows[at]].tobytes() == content:
            return int(self._rows[at])
        return NO_ROW
