"""The classic networks as conv bases: loaded, cut, quantised and saved like those of Keras."""

from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.conv_base.int8 import make_int8
from pipeline.conv_base.keras_setup import run_isolated
from pipeline.conv_base.load import ConvBase, load_conv_base
from pipeline.conv_base.load_top_layers import load_top_layers
from pipeline.conv_base.precision import relative_l2
from pipeline.conv_base.quantize import quantize
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.conv_base.zoo import build, conv_base_names, find_zoo_model, has_imagenet_weights
from pipeline.errors import SpecError, WeightsUnavailable
from pipeline.files.check_untrusted import check_untrusted_keras

SIZES = {"lenet5": 40, "alexnet": 80, "zfnet": 64, "googlenet": 40}
TOP1 = {"lenet5": "block2_pool_tanh", "alexnet": "block4_conv", "zfnet": "block4_conv", "googlenet": "inception_5a"}
each_network = pytest.mark.parametrize("name", SIZES)


@cache
def loaded(name: str, precision: str = "float32", cut: str | None = None) -> ConvBase:
    return load_conv_base(ConvBaseSpec(name, weights="random", size=SIZES[name], precision=precision, cut=cut))


@cache
def images(name: str) -> np.ndarray:
    patches = np.random.default_rng(0).uniform(0, 255, (8, SIZES[name] // 8, SIZES[name] // 8, 3))
    return patches.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)


@cache
def features(name: str) -> np.ndarray:
    return loaded(name).compute(images(name))


@each_network
def test_random_features_have_a_scale_near_1_and_differ_between_images(name):
    assert 0.1 < features(name).std() < 10
    assert features(name).std(axis=0).mean() > 0.3 * features(name).std()


@each_network
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_short_floats_compute_nearly_the_same(name, precision):
    short = loaded(name, precision).compute(images(name))
    assert 0 < relative_l2(short, features(name)) < {"bfloat16": 0.03, "float16": 0.005}[precision]


@each_network
def test_int8_computes_nearly_the_same(name):
    conv_base = loaded(name)
    quantised = make_int8(conv_base.spec, conv_base.feature_shape, {}, quantize(conv_base.model, images(name)))
    assert 0 < relative_l2(quantised.compute(images(name)), features(name)) < 0.1


@each_network
def test_the_layers_above_the_uppermost_cut_give_the_features(name):
    cut = loaded(name, cut="top1")
    assert cut.spec.cut == TOP1[name]
    upper = load_top_layers(cut.spec)
    np.testing.assert_allclose(upper(cut.compute(images(name))), features(name), rtol=1e-4, atol=1e-4)


@each_network
@pytest.mark.parametrize("include_top", [True, False])
def test_a_saved_model_loads_in_safe_mode_and_passes_the_check(name, include_top, tmp_path):
    model, given = loaded(name).model, images(name)
    if include_top:
        model = find_zoo_model(name).function(input_shape=given.shape[1:], classes=3)
    model.save(tmp_path / "saved.keras")
    check_untrusted_keras(tmp_path / "saved.keras")
    restored = keras.models.load_model(tmp_path / "saved.keras", safe_mode=True)
    np.testing.assert_array_equal(restored(given), model(given))


@each_network
def test_a_weights_file_without_the_top_is_read(name, tmp_path):
    spec = ConvBaseSpec(name, weights=str(tmp_path / "notop.weights.h5"), size=SIZES[name], precision="float32")
    model = run_isolated(build, find_zoo_model(name), spec)
    model.save_weights(spec.weights)
    read = load_conv_base(spec).model.get_weights()
    assert all(np.array_equal(*pair) for pair in zip(read, model.get_weights(), strict=True))


@each_network
def test_imagenet_weights_are_an_error_that_names_what_to_do(name):
    with pytest.raises(WeightsUnavailable) as caught:
        load_conv_base(ConvBaseSpec(name))
    assert str(caught.value).startswith(f"Keras has no ImageNet weights for {name}: train it on your images")
    assert "--weights random" in str(caught.value) and "\n" not in str(caught.value)


def test_the_names_without_imagenet_weights():
    assert {name for name in conv_base_names() if not has_imagenet_weights(name)} == set(SIZES)
    assert not has_imagenet_weights("GoogLeNet") and has_imagenet_weights("VGG16")


@pytest.mark.parametrize(("name", "least"), [("lenet5", 32), ("alexnet", 67), ("zfnet", 53), ("googlenet", 32)])
def test_a_size_too_small_is_an_error_that_gives_the_smallest_size(name, least):
    with pytest.raises(SpecError) as caught:
        load_conv_base(ConvBaseSpec(name, weights="random", size=(80, least - 1)))
    assert str(caught.value) == f"{name} takes images of at least {least}x{least}, not 80x{least - 1}"


def test_arguments_of_the_functions_are_those_of_the_spec():
    def parameters(name: str, **arguments: object) -> int:
        spec = ConvBaseSpec(name, conv_base_args=arguments, size=96)
        return run_isolated(build, find_zoo_model(name), spec).count_params()

    assert parameters("lenet5", modern=True) == 50_992
    assert parameters("alexnet", groups=1) == 3_747_200
    with pytest.raises(SpecError, match="alexnet has no argument 'group'; it has groups"):
        parameters("alexnet", group=1)


def test_a_store_without_imagenet_weights_is_made_with_random_ones_if_allowed(tmp_path, capsys):
    from pipeline.cli.main import main
    from tests.fakes import photo_folder

    folder: Path = photo_folder(tmp_path / "photos", 2)
    command = ["features", str(folder), "--cache", str(tmp_path / "c"), "--conv-base", "lenet5", "--size", "32"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "no ImageNet weights for lenet5" in error and "downloaded" not in error
    assert main([*command, "--allow-random-weights"]) == 0
    assert "random weights are used" in capsys.readouterr().err
