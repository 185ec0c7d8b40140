"""The speed of reading features from a store, against a memory map of a `.npy` file with the same features."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline import FeatureStore, open_features

from .measuring import alternate, say
from .photos import make_tiny
from .results import Figure, figure, ratios
from .sizes import Sizes
from .stand_in import SPEC, fill_store

BATCH = 32  # rows per read, when rows are read in batches


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure rows per second in order, in random order and in random batches; all from the page cache."""
    n = sizes.stored_rows
    say(f"  filling a store with {n} rows")
    make_tiny(work / "images", n, SPEC.height_width[0])
    store, _ = fill_store(work / "images", work / "store")
    array = work / "features.npy"
    np.save(array, store.read_rows(np.arange(n)))
    shuffled = np.random.default_rng(0).permutation(n)
    batches = np.array_split(shuffled, n // BATCH)
    measured = alternate(
        "rows/s",
        sizes.rounds,
        {
            "npy": lambda: _rate(n, lambda: np.array(np.load(array, mmap_mode="r"))),
            "store": lambda: _rate(n, lambda: open_features(store.directory).read_rows(np.arange(n))),
            "store again": lambda: _rate(n, lambda: store.read_rows(np.arange(n))),
            "npy shuffled": lambda: _rate(n, lambda: np.load(array, mmap_mode="r")[shuffled]),
            "store shuffled": lambda: _rate(n, lambda: store.read_rows(shuffled)),
            "npy batches": lambda: _rate(n, lambda: _read_mapped(array, batches)),
            "store batches": lambda: _rate(n, lambda: _read_stored(store, batches)),
        },
    )
    return _figures(measured)


def _figures(measured: dict[str, list[float]]) -> list[Figure]:
    figures = []
    for key, name, what, note in (
        ("first", "store", "store, in order, just opened", "every file's sha256 checked"),
        ("sequential", "store again", "store, in order, open already", "checked before"),
        ("shuffled", "store shuffled", "store, all rows in random order", "checked before"),
        ("batches", "store batches", f"store, random batches of {BATCH}", "checked before"),
    ):
        other = "npy" + name.removeprefix("store").removesuffix(" again")
        figures.append(figure(f"reading.{key}", what, measured[name], "rows/s", note=note))
        share = ratios(measured[name], measured[other])
        figures.append(figure(f"reading.{key}_share", f"{what}, divided by .npy", share, ""))
    for name in ("npy", "npy shuffled", "npy batches"):
        key = name.replace(" ", "_")
        figures.append(
            figure(f"reading.{key}", f".npy, {name.partition(' ')[2] or 'in order'}", measured[name], "rows/s")
        )
    return figures


def _rate(n: int, read: Callable[[], object]) -> float:
    start = time.perf_counter()
    read()
    return n / (time.perf_counter() - start)


def _read_mapped(array: Path, batches: list[np.ndarray]) -> None:
    mapped = np.load(array, mmap_mode="r")
    for rows in batches:
        _ = mapped[rows]


def _read_stored(store: FeatureStore, batches: list[np.ndarray]) -> None:
    for rows in batches:
        store.read_rows(rows)
