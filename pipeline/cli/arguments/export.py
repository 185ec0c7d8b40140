"""Options of `export`."""

from __future__ import annotations

import argparse

from pipeline import defaults


def export(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store with trained heads")
    verb.add_argument(
        "file",
        metavar="FILE",
        help="model.keras, model.tflite, model.onnx, or a directory for a SavedModel; an older model is replaced",
    )
    verb.add_argument(
        "--head", metavar="NAME", help="a saved head (default: the best validation accuracy of those Keras can express)"
    )
    verb.add_argument(
        "--form",
        choices=defaults.FORMS,
        default=defaults.FORMS[0],
        help="image: RGB of any size in, resized inside; slides: conv base, flatten and dense head in one Sequential, "
        "preprocessed images in",
    )
    verb.add_argument("--format", choices=tuple(defaults.FORMATS), help="default: by the ending of FILE")
