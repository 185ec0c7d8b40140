"""Seeded random weights: the same on every machine, and features that a head can learn from."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline import extract_features, predict_images, scan_images, train_heads
from pipeline.conv_base.load import ConvBase, load_conv_base
from pipeline.conv_base.random_weights import random_patches
from pipeline.conv_base.spec import ConvBaseSpec
from tests.fakes import photo, photo_folder

SHA256_OF_0_1 = "0267a67840d4436e8d99f9112c55a38910db3441a2422da5c326e593ea30fc8c"  # VGG16 in version 0.1


def load(name: str = "vgg16", size: int = 32, **fields: object) -> ConvBase:
    return load_conv_base(ConvBaseSpec(name, weights="random", size=size, precision="float32", **fields))


@pytest.mark.parametrize(
    ("name", "preprocessing"),
    [
        ("vgg16", "own"),
        ("vgg16", "rescale"),
        ("mobilenet_v2", "own"),
        ("resnet50", "own"),
        ("mobilenet_v3_small", "own"),
    ],
)
def test_features_have_a_scale_near_1_and_differ_between_images(name: str, preprocessing: str) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (8, 4, 4, 3)).repeat(16, axis=1).repeat(16, axis=2)
    features = load(name, 64, preprocessing=preprocessing).compute(images.astype(np.float32))
    assert 0.1 < features.std() < 10
    assert features.std(axis=0).mean() > 0.3 * features.std()  # 0.1 and less where all images look alike


def test_random_weights_are_the_same_on_every_machine() -> None:
    assert load().spec.weights_sha256 == "bb961b25a4fc6608164e8e0fbe3d3ac664e14b6fa508ec779879d148a7727776"


def test_biases_stay_zero_and_kernels_come_in_pairs_of_opposite_sign() -> None:
    first, bias, second = load().model.get_weights()[:3]
    assert not bias.any()
    np.testing.assert_array_equal(first[..., 1::2], -first[..., ::2])
    np.testing.assert_array_equal(second[..., 1::2, :], -second[..., ::2, :])
    assert abs(first[..., ::2].mean()) < 0.1 * first.std()


def test_the_drawing_of_version_0_1_is_found_by_its_sha256() -> None:
    assert load(weights_sha256=SHA256_OF_0_1).spec.weights_sha256 == SHA256_OF_0_1


def test_a_store_of_version_0_1_grows_and_predicts_with_the_weights_it_was_made_with(tmp_path) -> None:
    photos = photo_folder(tmp_path / "photos", 10)
    spec = ConvBaseSpec("vgg16", weights="random", size=32, precision="float32")
    old = extract_features(scan_images(photos), tmp_path / "cache", replace(spec, weights_sha256=SHA256_OF_0_1))
    train_heads(old, ["ridge"])
    photo_folder(photos, 11)
    new = extract_features(scan_images(photos), tmp_path / "cache", spec)
    assert new.fingerprint == old.fingerprint and len(new.ids()) == 22
    (tmp_path / "new.png").write_bytes(photo(99))
    (prediction,) = predict_images(new.directory, tmp_path / "new.png", "ridge")
    assert prediction.label in ("cats", "dogs")


def test_random_patches_are_colours_of_the_requested_size() -> None:
    patches = random_patches((24, 18))
    assert patches.shape == (2, 24, 18, 3) and patches.dtype == np.float32
    assert 0 <= patches.min() < 20 and 235 < patches.max() <= 255
    np.testing.assert_array_equal(patches[:, :3, :2], patches[:, :1, :1].repeat(3, axis=1).repeat(2, axis=2))
