"""Give a store its `numerics`, which the machines that go on with it must show."""

from dataclasses import replace

import numpy as np

from pipeline.conv_base.precision import TOLERANCE, relative_l2
from pipeline.errors import StoreMismatch
from pipeline.extraction.decode_ahead import list_tasks
from pipeline.extraction.engine import Engine
from pipeline.files.durable import sha256_of
from pipeline.images.status import Status
from pipeline.store import FeatureStore, Manifest, StoreLayout

RECOMPUTED = 8  # rows by which a machine shows that it gives the features of a store


def with_numerics(engine: Engine, layout: StoreLayout) -> tuple[Manifest, bytes]:
    """Return the manifest of a store with the numerics of the machine of an engine, and its probe."""
    probe = engine.compute_probe(layout)
    return replace(layout.manifest, numerics=sha256_of(probe)), probe


def check_numbers(engine: Engine, store: FeatureStore, mixed: bool) -> None:
    """Check that an engine gives the features of a store without numerics, by computing some of its rows again.

    With `mixed` they may differ within the tolerance of the precision.
    """
    rows = np.flatnonzero(store.row_status == Status.OK)[:RECOMPUTED]
    tasks = list(list_tasks(store.index, np.stack([rows, rows + 1], axis=1), store.spec.view))
    computed = engine.recompute(store, tasks)
    tolerance = TOLERANCE[store.spec.precision]
    for row, features in zip(rows, computed, strict=True):
        if features is not None:  # its image is gone otherwise
            difference = relative_l2(features, store.read_rows(np.array([row]))[0])
            if difference > (tolerance if mixed else 0):
                remedy = f"; --mixed admits up to {tolerance:.0e}" if difference <= tolerance else ""
                raise StoreMismatch(
                    f"{store.directory} was made by a machine that computes other numbers: relative L2 difference "
                    f"{difference:.1e}{remedy}"
                )
