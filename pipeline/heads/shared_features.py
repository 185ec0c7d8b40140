"""`SharedFeatures`: features that are checked, pooled and scaled once for several heads."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_array

from pipeline.heads.pooling import Pool
from pipeline.heads.rows_on_demand import Rows, is_read_on_demand, row_blocks

FLOATS = (np.float64, np.float32, np.float16)


class SharedFeatures:
    """Features that are checked, pooled and scaled once; every head takes them in place of X.

    They are an ndarray or `Rows` of shape (n, height, width, channels) or (n, d), any float. `pooled` and `scaled`
    are results of the methods of these names, by the way of pooling, which are known already.
    """

    def __init__(
        self,
        rows: Any,
        pooled: Mapping[str, np.ndarray] | None = None,
        scaled: Mapping[str, tuple[StandardScaler, np.ndarray]] | None = None,
    ):
        if not is_read_on_demand(rows):
            rows = check_array(rows, dtype=FLOATS, allow_nd=True, ensure_all_finite=False)
            # In blocks, as scikit-learn's own check makes a mask as large as half of a float16 array.
            if not all(np.isfinite(block).all() for block in row_blocks(rows)):
                raise ValueError("X contains NaN or infinity")
        self.rows: Rows = rows
        self.shape = self.rows.shape
        self._pooled = dict(pooled or {})
        self._scaled = dict(scaled or {})

    def __len__(self) -> int:
        return len(self.rows)

    def pooled(self, how: str) -> np.ndarray:
        """Return the features as `Pool` makes them; trained heads predict from these."""
        if how not in self._pooled:
            self._pooled[how] = Pool(how).fit_transform(self.rows)
        return self._pooled[how]

    def scaled(self, how: str) -> tuple[StandardScaler, np.ndarray]:
        """Return a fitted scaler and the pooled features at mean 0 and variance 1; heads are trained on these."""
        if how not in self._scaled:
            values = self._pooled[how] if how in self._pooled else Pool(how).fit_transform(self.rows)
            if values is self.rows or how in self._pooled:
                values = values.copy()
            scaler = StandardScaler()
            for block in row_blocks(values):  # StandardScaler.fit copies its whole input
                scaler.partial_fit(block)
            for block in row_blocks(values):
                block[:] = scaler.transform(block)
            self._scaled[how] = scaler, values
        return self._scaled[how]
