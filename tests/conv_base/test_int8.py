"""Quantised conv bases: the same model for the same images, and refusals of files that are not a store's own."""

import contextlib
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import ConvBaseSpec
from pipeline.conv_base import int8, load
from pipeline.conv_base.int8 import Int8ConvBase, load_int8, make_int8
from pipeline.conv_base.keras_setup import run_isolated
from pipeline.conv_base.quantize import quantize
from pipeline.errors import SpecError
from pipeline.files.check_untrusted import check_in_child
from pipeline.files.durable import sha256_of
from pipeline.files.native_stderr import native_stderr_hidden
from tests.exporting import conv_base_file

SHAPE = (5, 4, 6)  # of the features of the tiny conv base
IMAGES = np.random.default_rng(0).uniform(0, 255, (12, 24, 20, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def in_float32(tmp_path_factory):
    path = conv_base_file(tmp_path_factory.mktemp("int8") / "tiny.keras")
    return load.load_conv_base(ConvBaseSpec(str(path), preprocessing="rescale", size=(24, 20), precision="float32"))


@pytest.fixture(scope="module")
def model(in_float32) -> bytes:
    return quantize(in_float32.model, IMAGES[:6])


@pytest.fixture(scope="module")
def spec(in_float32, model) -> ConvBaseSpec:
    return replace(in_float32.spec, precision="int8", int8_sha256=sha256_of(model))


@pytest.fixture
def conv_base(spec, model) -> Int8ConvBase:
    return make_int8(spec, SHAPE, {}, model)


@pytest.fixture
def in_child(monkeypatch):
    monkeypatch.setattr(int8, "check_in_child", check_in_child)


def write(path: Path, spec: ConvBaseSpec, data: bytes) -> tuple[Path, ConvBaseSpec]:
    """Write a model that is what its spec says, as someone who means harm would."""
    path.write_bytes(data)
    return path, replace(spec, int8_sha256=sha256_of(data))


def test_features_are_near_those_in_float32(conv_base, in_float32):
    features, exact = conv_base.compute(IMAGES), in_float32.compute(IMAGES)
    assert features.shape == (12, *SHAPE) and features.dtype == np.float32
    assert 0 < np.linalg.norm(features - exact) < 0.05 * np.linalg.norm(exact)


def test_the_same_images_give_the_same_bytes_and_others_do_not(in_float32, model):
    assert quantize(in_float32.model, IMAGES[:6].copy()) == model
    assert quantize(in_float32.model, IMAGES[:6] / 2) != model


def test_images_are_computed_alone_in_any_number_of_threads(conv_base):
    together = conv_base.compute(IMAGES)
    with ThreadPoolExecutor(6) as pool:
        alone = list(pool.map(conv_base.compute, np.split(IMAGES, len(IMAGES)) * 5))
    assert np.concatenate(alone).tobytes() == np.concatenate([together] * 5).tobytes()


@contextlib.contextmanager
def same_stderr():
    before = os.fstat(2)
    yield
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)


def test_threads_that_hide_native_lines_at_the_same_time_give_standard_error_back():
    def hide(i: int) -> None:
        with native_stderr_hidden():
            time.sleep(0.001)

    with same_stderr(), ThreadPoolExecutor(8) as pool:
        list(pool.map(hide, range(50)))


def test_native_lines_can_be_hidden_inside_one_another(capfd):
    with same_stderr(), native_stderr_hidden(), native_stderr_hidden():
        os.write(2, b"hidden")
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"


def test_a_layer_without_a_form_in_integers_is_one_line():
    import keras

    def build():
        images = keras.Input((8, 8, 3))
        return keras.Model(images, keras.ops.erfinv(images / 1000), name="odd")

    with pytest.raises(SpecError, match="odd cannot be computed in int8: ") as caught:
        quantize(run_isolated(build), IMAGES[:2, :8, :8])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(5, 4, 7), (6,), ()])
def test_features_of_another_shape_are_refused(spec, model, shape, tmp_path):
    with pytest.raises(SpecError, match=r"cannot be computed in int8: it gives features \(5, 4, 6\)"):
        make_int8(spec, shape, {}, model)
    with pytest.raises(SpecError, match=r"conv_base.tflite.*cannot be used: it gives features \(5, 4, 6\)"):
        load_int8(*write(tmp_path / "conv_base.tflite", spec, model), shape, {})


def test_another_input_size_is_refused(spec, model, tmp_path):
    path, spec = write(tmp_path / "conv_base.tflite", replace(spec, size=(24, 24)), model)
    with pytest.raises(SpecError, match=r"conv_base.tflite.*cannot be used: .*"):
        load_int8(path, spec, SHAPE, {})


@pytest.mark.parametrize("harm", ["empty", "garbage", "cut short", "zeros inside"])
def test_a_file_that_is_no_model_is_refused_although_its_sha256_is_right(spec, model, tmp_path, harm, in_child):
    data = {
        "empty": b"",
        "garbage": b"\xff" * 5000,
        "cut short": model[: len(model) // 2],
        "zeros inside": model[:16] + bytes(len(model) - 32) + model[-16:],
    }[harm]
    with pytest.raises(SpecError, match=r"conv_base\.tflite, the int8 conv base, cannot be used: ") as caught:
        load_int8(*write(tmp_path / "conv_base.tflite", spec, data), SHAPE, {})
    assert "\n" not in str(caught.value)


def crash(path: Path) -> None:
    """Do what a malicious model does to the interpreter."""
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_model_that_crashes_the_interpreter_is_refused(spec, model, tmp_path, in_child, monkeypatch):
    path, spec = write(tmp_path / "conv_base.tflite", spec, model)
    assert load_int8(path, spec, SHAPE, {}).compute(IMAGES[:1]).shape == (1, *SHAPE)
    monkeypatch.setattr(int8, "check_int8_model", crash)
    with pytest.raises(SpecError, match=r"conv_base.tflite.*cannot be used: its check crashed \(signal 11\)"):
        load_int8(path, spec, SHAPE, {})


def test_the_check_of_an_untrusted_model_takes_no_tensorflow(spec, model, tmp_path, in_child, monkeypatch):
    monkeypatch.setattr(int8, "check_int8_model", loads_tensorflow)
    path, spec = write(tmp_path / "conv_base.tflite", spec, model)
    assert load_int8(path, spec, SHAPE, {}).model == model


def loads_tensorflow(path: Path) -> None:
    """Fail if the import of what `check_int8_model` needs has loaded TensorFlow."""
    import ai_edge_litert.interpreter  # noqa: F401

    import pipeline.conv_base.int8  # noqa: F401

    if "tensorflow" in sys.modules:
        raise ValueError("TensorFlow is loaded")
