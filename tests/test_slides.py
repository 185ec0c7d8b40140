"""The slides' model, VGG16 at 150x150 with the dense head, has the slides' numbers of parameters."""

import numpy as np
import pytest

from pipeline import ConvBaseSpec, extract_features, make_head, scan_images
from pipeline.conv_base.load import load_conv_base
from tests.fakes import photo_folder


@pytest.fixture(scope="module")
def vgg16():
    return load_conv_base(ConvBaseSpec("vgg16", weights="random", precision="float32"))


@pytest.fixture(scope="module")
def dense():
    rng = np.random.default_rng(0)
    return make_head("dense", epochs=1).fit(rng.random((8, 4, 4, 512), np.float32), np.arange(8) % 2)


def test_the_conv_base_has_the_slides_parameters_and_features(vgg16):
    assert vgg16.feature_shape == (4, 4, 512)
    assert vgg16.model.count_params() == 14_714_688
    assert vgg16.model.trainable_weights == []


def test_the_dense_head_has_the_slides_layers(dense):
    layers = [(type(layer).__name__, layer.output.shape[1:], layer.count_params()) for layer in dense.model_.layers]
    assert [layer for layer in layers if layer[0] in ("Flatten", "Dense")] == [
        ("Flatten", (8192,), 0),
        ("Dense", (50,), 409_650),
        ("Dense", (25,), 1_275),
        ("Dense", (1,), 26),
    ]
    assert [layer.activation.__name__ for layer in dense.model_.layers if hasattr(layer, "activation")] == [
        "relu",
        "relu",
        "sigmoid",
    ]
    assert dense.count_parameters() == 410_951


def test_both_stages_run_on_the_real_vgg16(tmp_path):
    photo_folder(tmp_path / "photos", 12)
    images = scan_images(tmp_path / "photos", validation=0.3)
    store = extract_features(images, tmp_path / "cache", ConvBaseSpec("vgg16", weights="random"), batch_size=8)
    X, y = store.load("train")
    assert X.shape == (len(y), 4, 4, 512) and X.dtype == np.float16
    assert store.spec.precision in ("float32", "bfloat16") and store.random_weights
    head = make_head("dense", epochs=1).fit(X, y)
    assert head.predict_proba(X).shape == (len(y), 2)
