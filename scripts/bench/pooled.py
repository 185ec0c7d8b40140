"""The training time of the six scikit-learn heads on pooled features."""

import time
from pathlib import Path

import numpy as np

from pipeline import make_head
from pipeline.heads.shared_features import SharedFeatures

from .measuring import say
from .results import Figure, figure
from .sizes import PHOTOS_TO_TRAIN_ON, Sizes

HEADS = ("logistic", "svm", "ridge", "knn", "forest", "mlp")
WIDTH = 1_280  # of MobileNetV2
FACTORS = 200  # independent causes of the features; the variance of cause i falls with i**-1.2
TELLING = slice(10, 50)  # causes whose mean depends on the class
SHIFT, NOISE = 2.1, 0.35  # with these, heads are right about 96 times in 100
TOGETHER = 60  # seconds


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Train each head once on synthetic rows, and score it on a quarter as many others."""
    n = sizes.pooled_rows
    X, y = make_pooled(n + n // 4)
    train, others = SharedFeatures(X[:n]), SharedFeatures(X[n:])
    seconds, figures = {}, []
    for name in HEADS:
        start = time.perf_counter()
        head = make_head(name).fit(train, y[:n])
        seconds[name] = time.perf_counter() - start
        accuracy = float(np.mean(head.predict(others) == y[n:]))
        say(f"  {name}: {seconds[name]:.2f} s, accuracy {accuracy:.4f}")
        figures.append(
            figure(f"pooled.{name}", f"pooled features: {name}", seconds[name], "s", note=f"accuracy {accuracy:.4f}")
        )
    goal = TOGETHER if n == PHOTOS_TO_TRAIN_ON else None
    note = f"{n:,} x {WIDTH:,}, searches included; a goal for {PHOTOS_TO_TRAIN_ON:,} rows (SCALE=4)"
    together = figure(
        "pooled.together", "pooled features: all six heads", sum(seconds.values()), "s", at_most=goal, note=note
    )
    return [*figures, together]


def make_pooled(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate features (n, 1280), float16, as correlated as those of photos, of two classes that overlap."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    factors = rng.standard_normal((n, FACTORS), np.float32)
    direction = rng.standard_normal(TELLING.stop - TELLING.start, np.float32)
    factors[:, TELLING] += np.where(y, 1, -1)[:, None] * (SHIFT / np.sqrt(len(direction)) * direction).astype("f4")
    scales = np.arange(1, FACTORS + 1, dtype=np.float32) ** -0.6
    mix = rng.standard_normal((FACTORS, WIDTH), np.float32) * (scales / np.linalg.norm(scales))[:, None]
    X = factors @ mix
    X += np.float32(NOISE) * rng.standard_normal(X.shape, np.float32)
    return np.maximum(X, 0).astype(np.float16), y
