"""`SharedFeatures`: what several heads need of the same features, worked out once."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_array

from pipeline.heads.lazy_rows import Rows, is_read_on_demand, row_blocks
from pipeline.heads.pooling import Pool

FLOATS = (np.float64, np.float32, np.float16)


class SharedFeatures:
    """Features that more than one head is trained or scored on: checked, pooled and scaled once.

    Every head takes them in place of X:

        shared = SharedFeatures(X)
        heads = [make_head("logistic", C=C).fit(shared, y) for C in (0.01, 0.1, 1.0)]

    Parameters
    ----------
    rows : ndarray or `Rows` of shape (n, height, width, channels) or (n, d), any float

    Raises
    ------
    ValueError
        An array holds other than finite numbers.
    """

    def __init__(self, rows: Any):
        if not is_read_on_demand(rows):
            rows = check_array(rows, dtype=FLOATS, allow_nd=True, ensure_all_finite=False)
            # In blocks: scikit-learn's own check makes a mask as large as half of a float16 array.
            if not all(np.isfinite(block).all() for block in row_blocks(rows)):
                raise ValueError("X contains NaN or infinity")
        self.rows: Rows = rows
        self._pooled: dict[str, np.ndarray] = {}
        self._scaled: dict[str, tuple[StandardScaler, np.ndarray]] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the rows."""
        return self.rows.shape

    def __len__(self) -> int:
        return len(self.rows)

    def pooled(self, how: str) -> np.ndarray:
        """The features as `Pool` makes them: what a trained head predicts from."""
        if how not in self._pooled:
            self._pooled[how] = Pool(how).fit_transform(self.rows)
        return self._pooled[how]

    def scaled(self, how: str) -> tuple[StandardScaler, np.ndarray]:
        """The pooled features at mean 0 and variance 1, and the scaler fitted on them: what a head is trained on."""
        if how not in self._scaled:
            pooled = self._pooled[how] if how in self._pooled else Pool(how).fit_transform(self.rows)
            kept = pooled is self.rows or how in self._pooled
            self._scaled[how] = _scale(pooled.copy() if kept else pooled)
        return self._scaled[how]


def _scale(numbers: np.ndarray) -> tuple[StandardScaler, np.ndarray]:
    # In place and by the block: StandardScaler.fit makes copies of what it is given as a whole.
    scaler = StandardScaler()
    for block in row_blocks(numbers):
        scaler.partial_fit(block)
    for block in row_blocks(numbers):
        block[:] = scaler.transform(block)
    return scaler, numbers
