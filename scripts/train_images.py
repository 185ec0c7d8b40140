"""Score conv bases by the number of train images: python scripts/train_images.py STORE STORE...

The stores hold features of the same images, made with different conv bases. For 10, 30, 100, ... train images of
each class, the script trains a logistic head on several random draws of the train images and scores it on all
validation images. It prints a Markdown table of mean accuracies, with the standard deviation over the draws. All
stores get the same draws. Nothing is stored.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from pipeline import FeatureStore, make_head, open_features
from pipeline.cli import console
from pipeline.cli.exit import one_line_errors
from pipeline.heads.pooling import Pool

SPLITS = ("train", "validation")
STEPS = (10, 30, 100, 300, 1000, 3000, 10_000)  # train images of each class


def main(directories: Sequence[str], head: str, draws: int) -> None:
    """Train and score heads, and print the table."""
    stores = [open_features(directory) for directory in directories]
    ids = {split: sorted(set.intersection(*(set(store.ids(split)) for store in stores))) for split in SPLITS}
    labels = _labels(stores[0], ids["train"])
    least = int(np.bincount(labels).min())
    counts = [step for step in STEPS if step < least] + [least]
    print(f"{head}, {draws} draws; {len(ids['validation'])} validation images\n")
    print(f"| train images of each class | {' | '.join(store.directory.name for store in stores)} |")
    print(f"|---:|{'---:|' * len(stores)}")
    features = [{split: _read(store, ids[split], split) for split in SPLITS} for store in stores]
    for count in counts:
        console.note(f"{count} train images of each class ...")
        chosen = [_draw(labels, count, seed) for seed in range(draws)]
        print(f"| {count} | {' | '.join(_score(head, X, stores[0], ids, labels, chosen) for X in features)} |")


def _labels(store: FeatureStore, ids: Sequence[str]) -> np.ndarray:
    label_of = dict(zip(store.images.ids, store.images.labels.tolist(), strict=True))
    return np.array([label_of[id] for id in ids], np.int32)


def _read(store: FeatureStore, ids: Sequence[str], split: str) -> np.ndarray:
    """Return averaged features in the order of ids, (n, channels) float32."""
    row_of = {id: row for row, id in enumerate(store.ids(split))}
    pooled = Pool("avg").fit_transform(store.on_demand(split)[0])
    return pooled[[row_of[id] for id in ids]]


def _draw(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    of_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.concatenate([generator.choice(rows, count, replace=False) for rows in of_class])


def _score(
    head: str,
    X: dict[str, np.ndarray],
    store: FeatureStore,
    ids: dict[str, list[str]],
    labels: np.ndarray,
    chosen: Sequence[np.ndarray],
) -> str:
    y = _labels(store, ids["validation"])
    accuracies = [
        np.mean(make_head(head).fit(X["train"][rows], labels[rows]).predict(X["validation"]) == y) for rows in chosen
    ]
    return f"{np.mean(accuracies):.3f} ± {np.std(accuracies, ddof=1):.3f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", metavar="STORE")
    parser.add_argument("--head", default="logistic", metavar="NAME")
    parser.add_argument("--draws", type=int, default=5, metavar="N")
    options = parser.parse_args()
    with one_line_errors("train_images"):
        main(options.stores, options.head, options.draws)
