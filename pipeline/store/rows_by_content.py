"""`RowsByContent`: the row that holds the features of an image, found by the sha256 of the image."""

import numpy as np

from pipeline.store.index import NO_ROW


class RowsByContent:
    """Rows of a store by the sha256 of their image; takes 16 bytes of memory a row.

    `contents`, (m, 32) uint8, are the sha256 of all rows of the store; `rows`, (k,) int64, those to search.
    """

    def __init__(self, contents: np.ndarray, rows: np.ndarray):
        # The first 8 bytes of a sha256 are enough to search by, as the rest is compared afterwards.
        keys = np.ascontiguousarray(contents[rows, :8]).view(">u8").reshape(-1).astype(np.uint64)
        order = np.argsort(keys)
        self._contents, self._keys, self._rows = contents, keys[order], rows[order]

    def find(self, contents: np.ndarray) -> np.ndarray:
        """Return the row of each content, (n, 32) uint8, as an ndarray of int64; `NO_ROW` where there is none."""
        keys = np.ascontiguousarray(contents[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
        i = np.searchsorted(self._keys, keys)
        rows = np.append(self._rows, NO_ROW)[i]
        return np.where((self._contents[rows] == contents).all(axis=1), rows, NO_ROW)

    def __call__(self, content: bytes) -> int:
        """Return the row of the image with this sha256, 32 bytes; `NO_ROW` if no row has its features."""
        key = np.uint64(int.from_bytes(content[:8], "big"))
        i = int(np.searchsorted(self._keys, key))
        if i < len(self._rows) and self._contents[self._rows[i]].tobytes() == content:
            return int(self._rows[i])
        return NO_ROW
