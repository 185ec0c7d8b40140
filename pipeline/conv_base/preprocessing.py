"""Preprocess images as a conv base expects them."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conv_base.directory_files import read_directory, read_rescaling
from pipeline.conv_base.keras_setup import import_keras
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.conv_base.zoo import find_zoo_model


def preprocess(images: Any, spec: ConvBaseSpec) -> Any:
    """Preprocess images, (..., height, width, 3) float32 in 0..255, an array (which may change) or a tensor."""
    if spec.preprocessing == "none" or (spec.kind == "file" and spec.preprocessing == "own"):
        return images  # a file of `train-base` contains its preprocessing
    if spec.kind == "directory" and spec.preprocessing == "own":
        scale, offset = read_rescaling(read_directory(Path(spec.conv_base)))
        return import_keras().layers.Rescaling(scale, offset)(images)
    if spec.preprocessing == "own":
        return find_zoo_model(spec.conv_base).preprocess_input(images)
    if spec.preprocessing == "rescale":
        return images / 255.0
    return import_keras().applications.imagenet_utils.preprocess_input(images, mode=spec.preprocessing)


def preprocess_array(images: np.ndarray, spec: ConvBaseSpec) -> np.ndarray:
    """Preprocess an array of images as `ConvBase.model` does inside; it stays unchanged."""
    return np.asarray(preprocess(images.copy(), spec))
