"""`JoinedConvBase`: several conv bases that compute their features of the same images side by side."""

from dataclasses import dataclass

import numpy as np

from pipeline.conv_base.int8 import Int8ConvBase
from pipeline.conv_base.joined_spec import JoinedSpec
from pipeline.conv_base.load import FloatConvBase


@dataclass(frozen=True, eq=False)
class JoinedConvBase:
    """The loaded conv bases of a joined store."""

    spec: JoinedSpec
    parts: tuple[FloatConvBase | Int8ConvBase, ...]

    def compute(self, images: np.ndarray) -> np.ndarray:
        """Compute the features, (b, d) float32, of images as `JoinedSpec.decode_image` returns them, (b, values)."""
        pixels = zip(self.parts, self.spec.split_pixels(images), strict=True)
        with np.errstate(over="ignore"):  # an overflow gives infinity, which the caller finds
            features = [part.compute(images).astype(part.spec.store_dtype) for part, images in pixels]
        return np.concatenate([average_positions(part) for part in features], axis=1)


def average_positions(features: np.ndarray) -> np.ndarray:
    """Average features, (n, ..., channels) of any float, over their positions: (n, channels), float32."""
    positions = tuple(range(1, features.ndim - 1))
    return features.mean(axis=positions, dtype=np.float32) if positions else features.astype(np.float32)
