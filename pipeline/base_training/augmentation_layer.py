"""Augmentation of whole batches inside a network, with the settings of `pipeline.images.augment`."""

import math
from typing import Any

import keras
from keras import ops

from pipeline.images.augment import DRAWN, MAX, Augmentation


def changes_images(augmentation: Augmentation) -> bool:
    """Return whether any setting changes an image."""
    return augmentation.horizontal_flip or any(getattr(augmentation, name) for name in MAX)


class AugmentationLayer(keras.layers.Layer):
    """Augment each image of a batch, (b, height, width, 3) float32 in 0..255, during training only.

    The ranges are those of `pipeline.images.augment.augment`, but the random numbers are those of Keras.
    """

    def __init__(self, augmentation: Augmentation):
        super().__init__(name="augmentation")
        self.augmentation = augmentation
        self.generator = keras.random.SeedGenerator(augmentation.seed)

    def call(self, images: Any, training: bool = False) -> Any:
        """Return augmented images of the same shape."""
        if not training:
            return images
        shape = ops.shape(images)[0], len(DRAWN)
        drawn = keras.random.uniform(shape, -1, 1, seed=self.generator)
        numbers = {name: drawn[:, i] for i, name in enumerate(DRAWN)}
        transforms = projective_transforms(numbers, images.shape[1:3], self.augmentation)
        copies = ops.image.affine_transform(images, transforms, interpolation="bilinear", fill_mode="nearest")
        if not self.augmentation.brightness:
            return copies
        factors = 1 + numbers["brightness"] * self.augmentation.brightness
        return ops.clip(copies * factors[:, None, None, None], 0, 255)


def projective_transforms(numbers: dict[str, Any], size: tuple[int, int], ranges: Augmentation) -> Any:
    """Return the maps of `pipeline.images.augment.affine_map`, and the mirroring, for a batch: (b, 8) float32.

    `numbers` has (b,) numbers in [-1, 1) for each name in `DRAWN`. A row of the result is as
    `ops.image.affine_transform` takes it: a, b, c, d, e, f, 0, 0 map the pixel (x, y) of the copy to the point
    (a x + b y + c, d x + e y + f) of the image.
    """
    height, width = size
    angle = numbers["rotation"] * math.radians(ranges.rotation)
    slant = numbers["shear"] * math.radians(ranges.shear)
    zoom_y, zoom_x = 1 + numbers["zoom_height"] * ranges.zoom, 1 + numbers["zoom_width"] * ranges.zoom
    cos, sin = ops.cos(angle), ops.sin(angle)
    # The matrix rotation @ shear @ zoom, in rows and columns
    yy, yx = (cos * ops.cos(slant) - sin * ops.sin(slant)) * zoom_y, sin * zoom_x
    xy, xx = (-sin * ops.cos(slant) - cos * ops.sin(slant)) * zoom_y, cos * zoom_x
    shift_y, shift_x = (
        numbers["height_shift"] * ranges.height_shift * height,
        numbers["width_shift"] * ranges.width_shift * width,
    )
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y = middle_y + cos * shift_y + sin * shift_x - yy * middle_y - yx * middle_x
    x = middle_x - sin * shift_y + cos * shift_x - xy * middle_y - xx * middle_x
    if ranges.horizontal_flip:
        is_mirrored = numbers["horizontal_flip"] < 0
        x, y = ops.where(is_mirrored, x + xx * (width - 1), x), ops.where(is_mirrored, y + yx * (width - 1), y)
        xx, yx = ops.where(is_mirrored, -xx, xx), ops.where(is_mirrored, -yx, yx)
    zeros = ops.zeros_like(xx)
    return ops.stack([xx, xy, x, yx, yy, y, zeros, zeros], axis=1)
