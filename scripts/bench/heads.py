"""The training time of heads: the dense head against Keras, a search of C against scikit-learn."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import make_head
from pipeline.cli.console import start_tensorflow_quietly
from pipeline.defaults import EPOCHS, HEAD_BATCH, UNITS

from .measuring import alternate, say, seconds_of
from .results import Figure, figure, ratios
from .sizes import Sizes

ROW = (4, 4, 512)
EPOCHS_PER_ROUND = 3  # the first epoch of a fit includes tracing and is not counted
WARM_UP_ROWS = 200


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure both comparisons on random features with the shape and the sparsity of VGG16's features."""
    start_tensorflow_quietly()
    say(f"  generating {sizes.rows} + {sizes.validation_rows} x {np.prod(ROW)} features")
    X, y = make_features(sizes.rows + sizes.validation_rows)
    return [*_dense(sizes, X, y), *_search(sizes, X, y)]


def make_features(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate features (n, 4, 4, 512), float16, of two overlapping classes; three in ten values are not zero."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    direction = rng.normal(0, 0.1, ROW[-1]).astype(np.float32)
    X = np.empty((n, *ROW), np.float16)
    for start in range(0, n, 1_000):
        rows = rng.standard_normal((len(y[start : start + 1_000]), *ROW), np.float32) - 0.5
        rows += np.where(y[start : start + 1_000], 1, -1)[:, None, None, None] * direction
        X[start : start + len(rows)] = np.maximum(rows, 0)
    return X, y


def _dense(sizes: Sizes, X: np.ndarray, y: np.ndarray) -> list[Figure]:
    train = X[: sizes.rows], y[: sizes.rows]
    validation = X[sizes.rows :], y[sizes.rows :]
    keras_fit = KerasFit(*train)
    _dense_epoch(*train)
    measured = alternate(
        "seconds an epoch", sizes.rounds, {"Keras": keras_fit.epoch, "dense head": lambda: _dense_epoch(*train)}
    )
    whole = seconds_of(lambda: make_head("dense").fit(*train, validation_data=validation))
    keras_seconds, dense_seconds = measured["Keras"], measured["dense head"]
    shape = f"{sizes.rows:,} x {np.prod(ROW):,}, batch {HEAD_BATCH}"
    note = f"with {sizes.validation_rows:,} validation rows, tracing included"
    return [
        figure("heads.keras", "Keras fit, one epoch", keras_seconds, "s", note=f"{shape}, float32 in memory"),
        figure("heads.dense", "dense head, one epoch", dense_seconds, "s", note=f"{shape}, float16 in memory"),
        figure(
            "heads.times",
            "dense head, times faster than Keras fit",
            ratios(keras_seconds, dense_seconds),
            "x",
            at_least=2.0,
        ),
        figure("heads.whole", f"dense head, {EPOCHS} epochs", whole, "s", note=note),
    ]


class KerasFit:
    """Training of the slides' head with plain Keras, with all features in memory."""

    def __init__(self, X: np.ndarray, y: np.ndarray):
        import keras

        self.X, self.y = X.reshape(len(X), -1).astype(np.float32), y.astype(np.float32)
        hidden = [keras.layers.Dense(width, activation="relu") for width in UNITS]
        output = keras.layers.Dense(1, activation="sigmoid")
        self.model = keras.Sequential([keras.Input(self.X.shape[1:]), *hidden, output])
        self.model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        self.epoch()

    def epoch(self) -> float:
        """Return the median seconds of an epoch, without the first one."""
        import keras

        ends: list[float] = []
        clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
        self.model.fit(self.X, self.y, batch_size=HEAD_BATCH, epochs=EPOCHS_PER_ROUND, callbacks=[clock], verbose=0)
        return float(np.median(np.diff(ends)))


def _dense_epoch(X: np.ndarray, y: np.ndarray) -> float:
    """Return the median seconds of an epoch of the dense head, without the first one."""
    ends: list[float] = []
    make_head("dense", epochs=EPOCHS_PER_ROUND).fit(
        X, y, on_epoch=lambda epoch, scores: ends.append(time.perf_counter())
    )
    return float(np.median(np.diff(ends)))


def _search(sizes: Sizes, X: np.ndarray, y: np.ndarray) -> list[Figure]:
    X, y = X[: sizes.search_rows], y[: sizes.search_rows]
    grid = [candidate["C"] for candidate in make_head("logistic").fit(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS]).search_]
    floats = X.astype(np.float32)
    _plain_search(floats[:WARM_UP_ROWS], y[:WARM_UP_ROWS], grid)
    measured = alternate(
        "seconds a search",
        sizes.rounds,
        {
            "scikit-learn": lambda: seconds_of(_plain_search, floats, y, grid),
            "logistic head": lambda: seconds_of(make_head("logistic").fit, X, y),
        },
    )
    plain_seconds, head_seconds = measured["scikit-learn"], measured["logistic head"]
    shape = f"{len(X):,} x {ROW}, {len(grid)} values of C, 5 folds"
    return [
        figure(
            "heads.plain_search",
            "GridSearchCV over averaging, scaling and logistic regression",
            plain_seconds,
            "s",
            note=f"{shape}, n_jobs=-1, workers started before",
        ),
        figure("heads.search", "logistic head, the same search", head_seconds, "s", note=shape),
        figure(
            "heads.search_times",
            "logistic head, times faster than GridSearchCV",
            ratios(plain_seconds, head_seconds),
            "x",
        ),
    ]


def _plain_search(X: np.ndarray, y: np.ndarray, grid: list[float]) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    classify = LogisticRegression(max_iter=1000)
    steps = [("pool", FunctionTransformer(_average)), ("scale", StandardScaler()), ("classify", classify)]
    return GridSearchCV(Pipeline(steps), {"classify__C": grid}, cv=5, n_jobs=-1).fit(X, y)


def _average(X: np.ndarray) -> np.ndarray:
    return X.mean(axis=(1, 2))
