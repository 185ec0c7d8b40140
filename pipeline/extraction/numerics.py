"""Record the sha256 of the probe of a store, its `numerics`, and check that another machine computes the same."""

from dataclasses import replace

import numpy as np

from pipeline.conv_base.precision import TOLERANCE, relative_l2
from pipeline.errors import StoreMismatch
from pipeline.extraction.conv_base_loading import library_versions
from pipeline.extraction.decode_ahead import list_tasks
from pipeline.extraction.engine import Engine
from pipeline.extraction.probe import probe_difference, read_probe
from pipeline.files.durable import sha256_of
from pipeline.images.status import Status
from pipeline.store import FeatureStore, Manifest, StoreLayout

RECOMPUTED = 8  # rows by which a machine shows that it gives the features of a store


def with_numerics(engine: Engine, layout: StoreLayout) -> tuple[Manifest, bytes]:
    """Return the manifest of a store with the numerics of the machine of an engine, and its probe."""
    probe = engine.compute_probe(layout)
    return replace(layout.manifest, numerics=sha256_of(probe)), probe


def find_numerics_problem(probe: bytes, layout: StoreLayout, mixed: bool) -> str | None:
    """Return why a machine with this probe must not compute features of a store; None if it may."""
    if sha256_of(probe) == layout.manifest.numerics:
        return None
    return _find_problem(probe_difference(probe, read_probe(layout)), layout, mixed)


def made_with(probe: bytes, layout: StoreLayout) -> dict[str, str]:
    """Return the maker of shards: versions, machine, and `numerics` where they are not those of the store."""
    numerics = sha256_of(probe)
    return {**library_versions(), **({} if numerics == layout.manifest.numerics else {"numerics": numerics})}


def check_numbers(engine: Engine, store: FeatureStore, mixed: bool) -> None:
    """Check that an engine gives the features of a store without numerics, by computing some of its rows again."""
    rows = np.flatnonzero(store.row_status == Status.OK)[:RECOMPUTED]
    tasks = list(list_tasks(store.index, np.stack([rows, rows + 1], axis=1), store.spec.view))
    for row, features in zip(rows, engine.recompute(store, tasks), strict=True):
        if features is not None:  # its image is gone otherwise
            difference = relative_l2(features, store.read_rows(np.array([row]))[0])
            if difference and (problem := _find_problem(difference, store, mixed)):
                raise StoreMismatch(f"{store.directory} cannot be continued here: {problem}")


def _find_problem(difference: float, layout: StoreLayout, mixed: bool) -> str | None:
    tolerance = TOLERANCE[layout.spec.precision]
    if mixed and difference <= tolerance:
        return None
    remedy = "--mixed admits it" if difference <= tolerance else f"--mixed admits no more than {tolerance:.0e}"
    return f"this machine computes other numbers than the store has, relative L2 difference {difference:.1e}; {remedy}"
