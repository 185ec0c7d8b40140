"""Compare joined features with those of each store alone: python scripts/compare_joined.py STORE STORE...

The stores hold features of the same images, made with different conv bases. The script trains the same heads on
the averaged features of each store, and on all of them side by side, and scores them on the same validation images.
It prints a Markdown table; the last column is the accuracy of the joined features minus that of the better store
alone, with its 95 % interval (a paired bootstrap over the validation images). The better store is chosen on the same
images, so the difference is rather too small. Nothing is stored but the joined features, beside the first store.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import Callbacks, FeatureStore, join_stores, make_head, open_features
from pipeline.cli import console
from pipeline.cli.display.callbacks import ConsoleCallbacks
from pipeline.cli.exit import one_line_errors
from pipeline.cli.option_types import names
from pipeline.evaluation.bootstrap import accuracy_of, bootstrap_intervals
from pipeline.joined.part_reader import PartReader
from pipeline.training.fit_and_score import Split, fit_head


def main(stores: Sequence[str], heads: Sequence[str]) -> None:
    """Join the stores, train and score the heads, and print the table."""
    parts = [open_features(store) for store in stores]
    with contextlib.redirect_stdout(sys.stderr), ConsoleCallbacks() as callbacks:
        joined = join_stores(parts, callbacks=callbacks)
        console.start_tensorflow_quietly()
        scores = [_score_heads(heads, joined, given, callbacks) for given in (*([part] for part in parts), parts)]
    groups = joined.resampling_groups("validation")
    widths = [part.feature_shape[-1] for part in (*parts, joined)]
    columns = [f"{Path(part.directory).name} ({width})" for part, width in zip((*parts, joined), widths, strict=True)]
    print(f"{len(joined.members('train'))} train and {len(groups)} validation images, accuracy by head and features.\n")
    print(f"| head | {' | '.join(columns)} | joined minus the better one |")
    print(f"| --- |{' ---: |' * (len(columns) + 1)}")
    for name in heads:
        results = [is_right[name] for is_right in scores]
        accuracies = " | ".join(f"{result.mean():.4f}" for result in results)
        print(f"| {name} | {accuracies} | {_format_difference(results, groups)} |")


def _score_heads(
    heads: Sequence[str], joined: FeatureStore, parts: Sequence[FeatureStore], callbacks: Callbacks
) -> dict[str, np.ndarray]:
    """Train heads on the features of some parts; return by head which validation images it labels right, (n,) bool."""
    reader, is_right = PartReader(parts), {}
    splits = {split: _read_split(joined, reader, split) for split in ("train", "validation")}
    for name in heads:
        head: Any = make_head(name)
        callbacks.head_started(f"{name} on {' + '.join(part.directory.name for part in parts)}")
        fit_head(head, splits, callbacks)
        is_right[name] = head.predict(splits["validation"].X) == splits["validation"].y
    return is_right


def _read_split(joined: FeatureStore, reader: PartReader, split: str) -> Split:
    members = joined.members(split)
    X, _ = reader.read(joined.images.contents[members])
    return Split(X, joined.images.labels[members], joined.resampling_groups(split))


def _format_difference(results: Sequence[np.ndarray], groups: np.ndarray) -> str:
    *alone, joined = results
    better = max(alone, key=np.mean)

    def difference(counts: np.ndarray) -> np.ndarray:
        return accuracy_of(joined)(counts) - accuracy_of(better)(counts)

    (interval,) = bootstrap_intervals([difference], len(joined), groups=groups)
    low, high = interval or (np.nan, np.nan)
    return f"{joined.mean() - better.mean():+.4f} ({low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", metavar="STORE")
    parser.add_argument("--heads", type=names, default=["logistic", "svm", "ridge", "knn", "mlp"], metavar="NAME,NAME")
    options = parser.parse_args()
    with one_line_errors("compare_joined"):
        main(options.stores, options.heads)
