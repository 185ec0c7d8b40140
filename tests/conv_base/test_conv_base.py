"""Loading a conv base: names, cut, preprocessing, precision, and Keras' global state."""

import logging
import math
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.conv_base import precision
from pipeline.conv_base.load import ConvBase, load_conv_base
from pipeline.conv_base.precision import settle_precision
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.conv_base.zoo import conv_base_names, find_zoo_model
from pipeline.errors import SpecError


@cache
def loaded(conv_base: str = "vgg16", size: int = 48, precision: str = "float32", cut: str | None = None) -> ConvBase:
    return load_conv_base(ConvBaseSpec(conv_base, weights="random", size=size, precision=precision, cut=cut))


def images(count: int = 2, size: int = 48) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def error_of(**fields: object) -> str:
    with pytest.raises(SpecError) as caught:
        load_conv_base(ConvBaseSpec(**{"weights": "random", "size": 48, "precision": "float32", **fields}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_importing_conv_base_does_not_import_tensorflow() -> None:
    probe = "import sys, pipeline.conv_base.load; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", probe], cwd=root, check=False).returncode == 0


class TestNames:
    def test_every_model_function_of_keras_has_a_snake_case_name(self) -> None:
        names = conv_base_names()
        assert len(names) == len([name for name in dir(keras.applications) if name[0].isupper()]) + 4
        assert {
            *("vgg16", "mobilenet_v2", "resnet50_v2", "efficientnet_b0", "efficientnet_v2_b0", "efficientnet_v2_s"),
            *("inception_resnet_v2", "nasnet_large", "convnext_tiny", "convnext_xlarge", "densenet121", "xception"),
            *("lenet5", "alexnet", "zfnet", "googlenet"),
        } <= set(names)

    @pytest.mark.parametrize("name", ["VGG16", "Vgg_16", "vgg-16"])
    def test_case_underscores_and_hyphens_in_a_name_are_ignored(self, name: str) -> None:
        spec = load_conv_base(ConvBaseSpec(name, weights="random", size=32, precision="float32")).spec
        assert spec.conv_base == "vgg16"

    def test_an_unknown_name_is_an_error_that_gives_the_closest_names(self) -> None:
        assert error_of(conv_base="vgg61") == "unknown conv base 'vgg61'; did you mean vgg16 or vgg19?"
        assert "vgg16, mobilenet_v2" in error_of(conv_base="zzz")

    def test_a_size_too_small_is_an_error_that_gives_the_smallest_size(self) -> None:
        assert error_of(conv_base="inception_v3", size=32) == "inception_v3 takes images of at least 75x75, not 32x32"
        assert error_of(conv_base="vgg16", size=(64, 31)) == "vgg16 takes images of at least 32x32, not 64x31"

    def test_an_unknown_argument_is_an_error_that_gives_the_known_arguments(self) -> None:
        assert error_of(conv_base="mobilenet_v2", conv_base_args={"alhpa": 1}).endswith("'alhpa'; it has alpha")
        assert error_of(conv_base_args={"include_top": True}).endswith("'include_top'; it takes none")

    def test_a_bad_value_of_an_argument_is_an_error_with_the_message_of_keras(self) -> None:
        reason = error_of(conv_base="mobilenet_v2", weights="imagenet", conv_base_args={"alpha": 0.123})
        assert "alpha=0.123 at 48x48" in reason and "`0.35`" in reason


class TestFeatures:
    def test_vgg16_features_are_exactly_those_of_keras(self) -> None:
        conv_base = loaded()
        reference = keras.applications.VGG16(include_top=False, weights=None, input_shape=(48, 48, 3))
        reference.set_weights(conv_base.model.get_weights())
        preprocessed = keras.applications.vgg16.preprocess_input(images())
        features = conv_base.compute(images())
        assert features.dtype == np.float32 and features.shape == (2, *conv_base.feature_shape) == (2, 1, 1, 512)
        np.testing.assert_array_equal(features, tf.function(reference)(preprocessed).numpy())
        assert features.std() > 0

    @pytest.mark.parametrize("mode", ["tf", "torch", "caffe", "rescale", "none"])
    def test_preprocessing_is_part_of_the_model(self, mode: str, tmp_path: Path) -> None:
        entrance = keras.Input((8, 8, 3))
        keras.Model(entrance, keras.layers.AveragePooling2D(1)(entrance)).save(tmp_path / "as_it_is.keras")
        spec = ConvBaseSpec(str(tmp_path / "as_it_is.keras"), size=8, preprocessing=mode, precision="float32")
        expected = {
            "rescale": lambda x: x / np.float32(255),
            "none": lambda x: x,
        }.get(mode, lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode=mode))(images(2, 8))
        np.testing.assert_allclose(load_conv_base(spec).compute(images(2, 8)), expected, atol=1e-6)

    def test_own_preprocessing_is_that_of_the_models_module(self) -> None:
        for name, module in (("resnet50", "resnet"), ("resnet50_v2", "resnet_v2"), ("densenet121", "densenet")):
            own = getattr(keras.applications, module).preprocess_input
            assert find_zoo_model(name).preprocess_input is own

    @pytest.mark.parametrize("computes_in", ["float32", "bfloat16"])
    def test_the_saved_model_loads_with_keras_alone(self, computes_in: str, tmp_path: Path) -> None:
        conv_base = loaded(precision=computes_in)
        conv_base.model.save(tmp_path / "saved.keras")
        restored = keras.models.load_model(tmp_path / "saved.keras", safe_mode=True)
        assert not restored.trainable_weights
        np.testing.assert_array_equal(restored(images()).numpy(), conv_base.model(images()).numpy())

    def test_the_model_is_frozen_also_when_called_in_training(self) -> None:
        model = loaded("mobilenet_v2").model
        before = model.get_weights()
        trained = model(images(), training=True).numpy()
        assert not model.trainable and not model.trainable_weights
        np.testing.assert_array_equal(trained, model(images(), training=False).numpy())
        assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))

    def test_each_batch_shape_is_traced_once(self) -> None:
        conv_base = load_conv_base(ConvBaseSpec("vgg16", weights="random", size=32, precision="float32"))
        traces, call = [], conv_base.model.call
        conv_base.model.call = lambda *inputs, **options: traces.append(len(traces)) or call(*inputs, **options)
        for count in (2, 3, 2, 3, 3, 2):
            conv_base.compute(images(count, 32))
        assert len(traces) == 2

    def test_loading_resolves_the_spec_except_for_the_decoder(self) -> None:
        spec = loaded().spec
        assert spec.precision == "float32" and len(spec.weights_sha256) == 64 and spec.conv_base_sha256 is None
        assert spec.decoder is None and loaded().sources == {"conv_base": "vgg16", "weights": "random"}


class TestCut:
    def test_a_layer_in_the_middle_gives_its_output(self) -> None:
        cut = loaded(cut="block4_pool")
        assert cut.feature_shape == (3, 3, 512) and cut.spec.cut == "block4_pool"
        assert cut.spec.weights_sha256 == loaded().spec.weights_sha256

    def test_a_cut_at_the_last_layer_is_the_same_as_no_cut(self) -> None:
        assert loaded(cut="block5_pool").spec == loaded().spec

    def test_an_unknown_layer_is_an_error_that_lists_the_layers(self) -> None:
        assert error_of(cut="block4_pol").endswith("block5_conv3, block5_pool")

    def test_an_error_lists_the_closest_of_many_layers_first(self) -> None:
        reason = error_of(conv_base="mobilenet_v2", cut="block_13_expandd")
        assert "it has block_13_expand, " in reason and reason.endswith("and 123 more")

    def test_generated_layer_names_do_not_depend_on_models_built_before(self) -> None:
        def name_of_a_layer() -> str:
            base = load_conv_base(ConvBaseSpec("mobilenet_v3_small", weights="random", size=32, precision="float32"))
            return next(layer.name for layer in base.model.layers[-1].layers if "activation" in layer.name)

        keras.layers.Activation("relu")
        assert name_of_a_layer() == name_of_a_layer() == "activation"


class TestPrecision:
    def test_the_error_of_a_precision_is_the_relative_error_of_its_features(self) -> None:
        exact, short = loaded(), loaded(precision="bfloat16")
        wanted = exact.compute(images())
        error = np.linalg.norm(short.compute(images()) - wanted) / np.linalg.norm(wanted)
        assert short.error_against_float32(images()) == pytest.approx(float(error), rel=1e-3)
        assert 0 < error < 0.05
        assert exact.error_against_float32(images()) == 0

    def test_the_error_of_features_that_overflow_is_infinite(self) -> None:
        inputs = keras.Input((4, 4, 3))
        large = keras.layers.Rescaling(1e4, dtype="mixed_float16")(inputs)
        model = keras.Model(inputs, keras.layers.Subtract(dtype="mixed_float16")([large, large]))  # NaN, not 0
        conv_base = ConvBase(ConvBaseSpec(), model, (4, 4, 3), {})
        assert conv_base.error_against_float32(images(size=4)) == math.inf

    @pytest.mark.parametrize("name", ["vgg16", "mobilenet_v2", "convnext_tiny"])
    def test_bfloat16_computes_nearly_the_same(self, name: str) -> None:
        exact, short = loaded(name), loaded(name, precision="bfloat16")
        expected, features = exact.compute(images()), short.compute(images())
        assert features.dtype == np.float32
        assert 0 < np.linalg.norm(features - expected) / np.linalg.norm(expected) < 0.05
        assert {weight.dtype for weight in short.model.weights} == {"float32"}
        assert exact.spec.weights_sha256 == short.spec.weights_sha256

    def test_float16_computes_nearly_the_same(self) -> None:
        expected, features = loaded().compute(images()), loaded(precision="float16").compute(images())
        assert 0 < np.linalg.norm(features - expected) / np.linalg.norm(expected) < 0.005

    def test_float32_is_not_tensor_float_32(self) -> None:
        for computes_in in ("float32", "bfloat16"):  # bfloat16 is compared with float32
            tf.config.experimental.enable_tensor_float_32_execution(True)
            load_conv_base(ConvBaseSpec("vgg16", weights="random", size=32, precision=computes_in))
            assert not tf.config.experimental.tensor_float_32_execution_enabled()

    def test_the_global_dtype_policy_is_neither_used_nor_changed(self) -> None:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16")
        try:
            base = load_conv_base(ConvBaseSpec("vgg16", weights="random", size=48, precision="float32"))
            assert keras.config.dtype_policy().name == "mixed_float16"
            load_conv_base(ConvBaseSpec("vgg16", weights="random", size=48, precision="bfloat16"))
            assert keras.layers.Dense(1).compute_dtype == "float16"
        finally:
            keras.config.set_dtype_policy(before)
        np.testing.assert_array_equal(base.compute(images()), loaded().compute(images()))

    @pytest.mark.parametrize(("seconds", "settled"), [(1 / 1.25, "bfloat16"), (1 / 1.15, "float32"), (2, "float32")])
    def test_auto_chooses_bfloat16_if_it_is_faster_by_a_fifth(self, seconds, settled, monkeypatch, caplog) -> None:
        def best_seconds(model: object, batch: np.ndarray, max_seconds: float = 0) -> float:
            assert batch.shape[1:] == (48, 48, 3)
            return seconds if model.layers[-1].compute_dtype == "bfloat16" else 1.0  # type: ignore[attr-defined]

        monkeypatch.setattr(precision, "shorter_format", lambda: "bfloat16")
        monkeypatch.setattr(precision, "best_seconds", best_seconds)
        caplog.set_level(logging.INFO, logger="pipeline")
        base = load_conv_base(ConvBaseSpec("vgg16", weights="random", size=48, precision="auto"))
        assert base.spec.precision == settled
        assert f"precision {settled}: 8.0 images/s in float32, {8 / seconds:.1f} in bfloat16" in caplog.text

    def test_without_an_alternative_to_float32_nothing_is_measured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(precision, "shorter_format", lambda: None)
        assert settle_precision(None, (48, 48)) == "float32"

    def test_the_measurement_times_a_real_forward_pass(self) -> None:
        assert settle_precision(loaded().model, (48, 48)) in ("float32", "bfloat16", "float16")


class TestGlobalState:
    def test_loading_does_not_change_the_callers_random_state(self) -> None:
        def numbers(between) -> list[float]:
            keras.utils.set_random_seed(7)
            first = float(keras.random.uniform(()))
            between()
            return [first, float(keras.random.uniform(())), random.random(), np.random.random()]  # noqa: NPY002

        spec = ConvBaseSpec("mobilenet_v3_small", weights="random", size=32, precision="bfloat16")
        assert numbers(lambda: load_conv_base(spec)) == numbers(lambda: None)

    def test_loading_does_not_change_the_callers_counters_of_layer_names(self) -> None:
        number = int(keras.layers.Conv2D(1, 1).name.removeprefix("conv2d").removeprefix("_") or 0)
        load_conv_base(ConvBaseSpec("mobilenet_v3_small", weights="random", size=32, precision="float32"))
        assert keras.layers.Conv2D(1, 1).name == f"conv2d_{number + 1}"
