"""Both stages in ten lines: python scripts/ten_lines.py PHOTOS [WEIGHTS]."""

import sys

from pipeline import ConvBaseSpec, evaluate, extract_features, make_head, scan_images

photos, weights = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "imagenet"

images = scan_images(photos)  # ImageTable: .ids .paths .labels .splits .classes
spec = ConvBaseSpec("vgg16", weights=weights)
store = extract_features(images, "cache/ten_lines", spec)  # no-op when up to date
X, y = store.load("train")  # (n, 4, 4, 512) array, (n,) integer labels
head = make_head("logistic", C=0.1).fit(X, y)  # scikit-learn contract
print(evaluate(head, *store.load("validation"), classes=store.classes))  # Report: .accuracy .per_class .confusion ...
