"""Both stages in ten lines: python scripts/ten_lines.py PHOTOS [--weights FILE]."""

import argparse

from pipeline import ConvBaseSpec, evaluate, extract_features, make_head, scan_images
from pipeline.cli.exit import one_line_errors

parser = argparse.ArgumentParser(description="Extract features and train a head.")
parser.add_argument("photos")
parser.add_argument("--weights", default="imagenet")
options = parser.parse_args()

with one_line_errors("ten_lines"):
    images = scan_images(options.photos)  # ImageTable: .ids .paths .labels .splits .classes
    spec = ConvBaseSpec("vgg16", weights=options.weights)
    store = extract_features(images, "cache/ten_lines", spec)  # no-op when up to date
    X, y = store.load("train")  # (n, 4, 4, 512) array, (n,) integer labels
    head = make_head("logistic", C=0.1).fit(X, y)  # scikit-learn contract
    print(evaluate(head, *store.load("validation"), classes=store.classes))  # Evaluation: .accuracy .confusion ...
