"""Compare heads on your own photos: python scripts/compare_heads.py PHOTOS [--conv-base NAME] [--weights FILE].

The features are computed once; each further head then takes seconds.
"""

import argparse
from pathlib import Path

from pipeline import ConvBaseSpec, extract_features, scan_images, train_heads
from pipeline.cli import console
from pipeline.cli.exit import one_line_errors

HEADS = {
    "ridge": {},
    "logistic": {"C": 0.01},
    "svm": {"C": 0.01},
    "knn": {"k": 5},
    "dense": {"epochs": 5, "dropout": 0.2},
}


def main(photos: str, conv_base: str, weights: str) -> None:
    """Extract features, train the heads and print their scores, the best first."""
    images = scan_images(photos)
    console.start_tensorflow_quietly()
    store = extract_features(
        images, Path("cache") / f"compare-{Path(photos).name}-{conv_base}", ConvBaseSpec(conv_base, weights=weights)
    )
    print(f"{len(store.members('train'))} train and {len(store.members('validation'))} validation images")
    for trained in train_heads(store, list(HEADS), params=HEADS):
        evaluation = trained.evaluation
        print(f"{trained.name:<10}{evaluation.accuracy:.4f}  balanced {evaluation.balanced_accuracy:.4f}", end="  ")
        print(f"{trained.fit_seconds:6.2f} s  {trained.parameters:>9,} parameters")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare heads on a folder of photos.")
    parser.add_argument("photos")
    parser.add_argument("--conv-base", default="vgg16")
    parser.add_argument("--weights", default="imagenet")
    options = parser.parse_args()
    with one_line_errors("compare_heads"):
        main(options.photos, options.conv_base, options.weights)
