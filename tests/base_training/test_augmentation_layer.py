"""The augmentation of batches makes the copies that the cached views have."""

import numpy as np
import pytest

from pipeline.base_training.augmentation_layer import AugmentationLayer, changes_images, projective_transforms
from pipeline.images.augment import DRAWN, Augmentation, affine_map

STRONG = Augmentation(rotation=30, shear=20, zoom=0.3, width_shift=0.1, height_shift=0.2)


def photos(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (n, 12, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_maps_are_those_of_the_views(mirrored):
    rng, size = np.random.default_rng(1), (12, 16)
    for _ in range(5):
        numbers = {name: float(rng.uniform(-1, 1)) for name in DRAWN}
        numbers["horizontal_flip"] = -0.5 if mirrored else 0.5
        matrix, offset = affine_map(size, STRONG, numbers)
        batch = {name: np.array([number], np.float32) for name, number in numbers.items()}
        a, b, c, d, e, f, *_ = np.asarray(projective_transforms(batch, size, STRONG))[0]
        for row, column in ((0, 0), (3, 11), (11, 15)):
            y, x = matrix @ (row, size[1] - 1 - column if mirrored else column) + offset
            np.testing.assert_allclose((a * column + b * row + c, d * column + e * row + f), (x, y), atol=1e-3)


def test_images_change_in_training_only_each_in_another_way():
    layer, images = AugmentationLayer(STRONG), np.repeat(photos(1), 3, axis=0)
    np.testing.assert_array_equal(layer(images, training=False), images)
    copies = np.asarray(layer(images, training=True))
    assert copies.shape == images.shape and not np.allclose(copies[0], copies[1])
    assert not np.allclose(copies, np.asarray(layer(images, training=True)))
    assert copies.min() >= 0 and copies.max() <= 255


def test_a_mirrored_copy_is_the_mirrored_image():
    layer, images = AugmentationLayer(Augmentation(0, 0, 0, 0, 0, True)), photos(8)
    copies = np.asarray(layer(images, training=True))
    is_mirrored = [np.allclose(copy, image[:, ::-1], atol=1e-2) for copy, image in zip(copies, images, strict=True)]
    is_same = [np.allclose(copy, image, atol=1e-2) for copy, image in zip(copies, images, strict=True)]
    assert any(is_mirrored) and any(is_same) and all(np.logical_xor(is_mirrored, is_same))


def test_brightness_multiplies_the_values():
    images = photos(2) / 2
    copies = np.asarray(AugmentationLayer(Augmentation(0, 0, 0, 0, 0, False, brightness=0.5))(images, training=True))
    factors = copies / images
    np.testing.assert_allclose(factors.min(axis=(1, 2, 3)), factors.max(axis=(1, 2, 3)), rtol=1e-3)
    assert 0.5 <= factors.min() < factors.max() <= 1.5


def test_settings_of_nothing_change_no_image():
    assert not changes_images(Augmentation(0, 0, 0, 0, 0, False))
    assert changes_images(Augmentation(0, 0, 0, 0, 0, True)) and changes_images(STRONG)
