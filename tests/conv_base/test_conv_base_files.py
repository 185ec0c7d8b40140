"""Weights from a file or a download, and a user's own `.keras` file."""

import json
import socket
import urllib.error
import zipfile
from pathlib import Path
from typing import ClassVar

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.conv_base.load import ConvBase, load_conv_base
from pipeline.conv_base.load_top_layers import load_top_layers
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError, WeightsUnavailable

SMALL = {"conv_base": "mobilenet_v2", "conv_base_args": {"alpha": 0.35}, "size": 32}


def load(**fields: object) -> ConvBase:
    return load_conv_base(ConvBaseSpec(**{"precision": "float32", **SMALL, **fields}))


def error_of(**fields: object) -> str:
    with pytest.raises(SpecError) as caught:
        load(**fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def images(size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def trained():
    """MobileNetV2 whose biases and normalisations, too, do not have their initial values."""
    model = keras.applications.MobileNetV2(include_top=False, weights=None, alpha=0.35, input_shape=(32, 32, 3))
    generator = np.random.default_rng(1)
    model.set_weights([generator.uniform(0.1, 0.2, weight.shape) for weight in model.weights])
    return model


def save(model, path: Path) -> Path:
    """Save a model in the format that its file name asks for."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


class TestWeights:
    @pytest.mark.parametrize("name", ["it.weights.h5", "it.h5", "whole.weights.h5"])
    def test_both_formats_are_recognised_by_their_content(self, name: str, trained, tmp_path: Path) -> None:
        saved = save(trained, tmp_path / ("it.weights.h5" if "it" in name else "whole.h5"))
        conv_base = load(weights=str(saved.rename(tmp_path / name)))
        expected = tf.function(trained)(images() / 127.5 - 1).numpy()
        np.testing.assert_array_equal(conv_base.compute(images()), expected)
        assert conv_base.sources["weights"] == str(tmp_path / name)
        assert len(conv_base.sources["weights_file_sha256"]) == 64

    def test_the_same_weights_from_another_file_have_the_same_sha256(self, trained, tmp_path: Path) -> None:
        files = [save(trained, tmp_path / name) for name in ("a.weights.h5", "b.h5")]
        shas = {load(weights=str(file)).spec.weights_sha256 for file in files}
        first, *rest = trained.get_weights()
        trained.set_weights([first + 1, *rest])
        other = load(weights=str(save(trained, tmp_path / "c.weights.h5"))).spec.weights_sha256
        trained.set_weights([first, *rest])
        assert len(shas) == 1 and other not in shas

    @pytest.mark.parametrize("name", ["it.weights.h5", "it.h5"])
    def test_fault_41_another_architecture_is_an_error_that_names_the_first_mismatch(
        self, name, trained, tmp_path
    ) -> None:
        path = save(trained, tmp_path / name)
        reason = error_of(weights=str(path), conv_base_args={})
        assert f"{path} does not fit mobilenet_v2: layer Conv1 takes (3, 3, 3, 32)" in reason
        assert "the file has (3, 3, 3, 16) of float32 at /" in reason
        assert "layer block1_conv1 takes (3, 3, 3, 64)" in error_of(
            weights=str(path), conv_base="vgg16", conv_base_args={}
        )

    @pytest.mark.parametrize("name", ["top.weights.h5", "top.h5"])
    def test_fault_41_a_file_with_the_top_is_an_error_that_says_so(self, name: str, tmp_path: Path) -> None:
        whole = keras.applications.MobileNetV2(weights=None, alpha=0.35, input_shape=(32, 32, 3), classes=7)
        reason = error_of(weights=str(save(whole, tmp_path / name)))
        assert "it holds 2 weights more" in reason and "(1280, 7)" in reason and "without the top" in reason

    def test_fault_41_a_truncated_file_and_a_file_of_another_type_are_errors(self, trained, tmp_path: Path) -> None:
        path = save(trained, tmp_path / "it.weights.h5")
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"<html>", b""):
            path.write_bytes(damaged)
            assert f"weights file {path} is refused: it is not an HDF5 file" in error_of(weights=str(path))

    def test_fault_41_an_hdf5_file_of_something_else_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "other.h5"
        with h5py.File(path, "w") as file:
            file["features"] = np.zeros(3)
        assert "layer Conv1 takes (3, 3, 3, 16) of float32, the file has nothing at" in error_of(weights=str(path))
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = 3
        assert "is refused" in error_of(weights=str(path))

    def test_fault_40_a_weights_file_with_an_external_link_is_an_error(self, trained, tmp_path: Path) -> None:
        path = save(trained, tmp_path / "it.weights.h5")
        with h5py.File(path, "r+") as file:
            del file["layers/conv2d/vars/0"]
            file["layers/conv2d/vars/0"] = h5py.ExternalLink("/etc/other.h5", "/secret")
        assert "/layers/conv2d/vars/0 is a link to another place" in error_of(weights=str(path))

    def test_an_unknown_word_for_weights_is_an_error_that_gives_the_choices(self) -> None:
        assert error_of(weights="imagent") == "weights 'imagent' are neither imagenet, nor random, nor a file"

    def test_efficientnet_from_a_file_equals_the_one_that_keras_downloads(self, monkeypatch, tmp_path: Path) -> None:
        model = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
        published = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
        published.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
        path = save(model, tmp_path / "efficientnet.weights.h5")
        monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **options: str(path))
        near = {"conv_base": "efficientnet_b0", "conv_base_args": {}, "cut": "stem_conv"}
        downloaded, from_file = load(**near, weights="imagenet"), load(**near, weights=str(path))
        assert downloaded.spec.weights_sha256 == from_file.spec.weights_sha256
        np.testing.assert_array_equal(downloaded.compute(images()), from_file.compute(images()))
        short = load(**near, weights=str(path), precision="bfloat16").compute(images())
        np.testing.assert_allclose(short, from_file.compute(images()), atol=0.05)
        published.set_weights([np.zeros(3), np.ones(3), np.array(0)])
        assert np.abs(load(**near, weights=str(save(model, path))).compute(images()) - short).max() > 0.1


class TestImagenet:
    @pytest.mark.parametrize(
        "error", [urllib.error.URLError("no route"), TimeoutError("timed out"), ConnectionResetError()]
    )
    def test_fault_42_without_network_the_error_gives_three_ways_out(self, error, monkeypatch, tmp_path, capfd) -> None:
        def fail(*arguments: object) -> None:
            assert socket.getdefaulttimeout() == 30
            raise error

        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", fail)
        with pytest.raises(
            WeightsUnavailable, match=r"vgg16 .*go online, .*--weights FILE .*WEIGHTS=FILE.*--weights random"
        ):
            load(conv_base="vgg16", conv_base_args={})
        assert socket.getdefaulttimeout() is None
        assert capfd.readouterr().out == ""

    def test_fault_42_a_corrupt_download_is_weights_unavailable(self, monkeypatch, tmp_path: Path) -> None:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setattr(
            "keras.src.utils.file_utils.urlretrieve", lambda url, path, hook: Path(path).write_bytes(b"<html>")
        )
        with pytest.raises(WeightsUnavailable, match="Incomplete or corrupted"):
            load(conv_base="vgg16", conv_base_args={})


class TestUserFile:
    SETTINGS: ClassVar = {"conv_base_args": {}, "size": 16, "preprocessing": "rescale"}

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "own.keras"

    def write(self, path: Path, *, size: int | None = 16, channels: int = 3, layers: list | None = None) -> None:
        inner = keras.Sequential([keras.Input((size, size, 3)), keras.layers.Conv2D(4, 3, name="conv")], name="inner")
        tail = [inner, keras.layers.GlobalAveragePooling2D(name="pool"), keras.layers.Dense(2, name="top")]
        keras.Sequential([keras.Input((size, size, channels)), *(layers or tail)]).save(path)

    def load(self, path: Path, **fields: object) -> ConvBase:
        return load(**{**self.SETTINGS, "conv_base": str(path), **fields})

    def error_of(self, path: Path, **fields: object) -> str:
        return error_of(**{**self.SETTINGS, "conv_base": str(path), **fields})

    @pytest.mark.parametrize(("cut", "shape"), [(None, (2,)), ("pool", (4,)), ("inner", (14, 14, 4))])
    def test_a_classifier_can_be_cut_at_any_layer(self, path: Path, cut: str | None, shape: tuple[int, ...]) -> None:
        self.write(path)
        conv_base = self.load(path, cut=cut)
        assert conv_base.feature_shape == shape and conv_base.spec.cut == cut
        assert len(conv_base.spec.conv_base_sha256) == 64 and conv_base.sources["conv_base"] == str(path)
        features = keras.models.load_model(path).layers[0](images(16) / 255)
        expected = {None: None, "pool": np.mean(features, axis=(1, 2)), "inner": features}[cut]
        if expected is not None:
            np.testing.assert_allclose(conv_base.compute(images(16)), expected, rtol=1e-4, atol=1e-5)

    def test_a_cut_at_its_last_layer_is_the_same_as_no_cut(self, path: Path) -> None:
        self.write(path)
        assert self.load(path, cut="top").spec == self.load(path).spec

    def test_a_skip_by_a_shared_layer_is_found_when_the_layers_above_are_loaded(self, path: Path) -> None:
        shared, inputs = keras.layers.Conv2D(4, 1), keras.Input((16, 16, 3))
        below = keras.layers.Conv2D(3, 1)(shared(inputs))
        skip = shared(below)
        above = keras.layers.Conv2D(4, 1, name="cut")(below)
        keras.Model(inputs, keras.layers.Add()([above, skip])).save(path)
        assert self.load(path, cut="cut").feature_shape == (16, 16, 4)
        with pytest.raises(SpecError, match="cannot be cut at 'cut'"):
            load_top_layers(ConvBaseSpec(str(path), size=16, preprocessing="rescale", precision="float32", cut="cut"))

    def test_a_model_without_a_fixed_size_takes_any_size(self, path: Path) -> None:
        self.write(path, size=None)
        assert self.load(path, size=(20, 24), cut="inner").feature_shape == (18, 22, 4)
        assert "2x2" in self.error_of(path, size=2)

    def test_settings_that_do_not_fit_a_keras_file_are_errors(self, path: Path) -> None:
        assert "is not a file" in self.error_of(path)
        self.write(path)
        assert "--preprocessing rescale, tf, torch, caffe or none" in self.error_of(path, preprocessing="own")
        assert "takes images of 16x16, not 20x20" in self.error_of(path, size=20)
        assert "contains its weights" in self.error_of(path, weights="random")
        assert "it has inner, pool, top" in self.error_of(path, cut="poll")

    def test_a_model_that_does_not_map_one_rgb_image_to_one_output_is_an_error(self, path: Path) -> None:
        self.write(path, channels=1, layers=[keras.layers.Flatten()])
        assert "takes (None, 16, 16, 1) of float32, not RGB images" in self.error_of(path)
        one, two = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
        keras.Model([one, two], keras.layers.Add()([one, two])).save(path)
        assert "has 2 inputs and 1 outputs" in self.error_of(path)
        keras.Model(one, [keras.layers.Flatten()(one), keras.layers.ReLU()(one)]).save(path)
        assert "has 1 inputs and 2 outputs" in self.error_of(path)

    def test_fault_39_a_lambda_does_not_run(self, path: Path, tmp_path: Path) -> None:
        witness = str(tmp_path / "witness")
        self.write(path, layers=[keras.layers.Lambda(lambda x: (open(witness, "w").close(), x)[1])])
        Path(witness).unlink(missing_ok=True)
        assert "is refused: it holds a Lambda, whose code would run here" in self.error_of(path)
        assert not Path(witness).exists()

    def test_fault_39_custom_objects_are_an_error(self, path: Path) -> None:
        @keras.saving.register_keras_serializable("stranger")
        class Custom(keras.layers.Layer):
            def call(self, inputs):
                return inputs

        self.write(path, layers=[Custom()])
        assert "it holds stranger>Custom" in self.error_of(path)
        self.rewrite(path, "config.json", lambda data: data.replace(b"stranger>Custom", b"x"))
        assert f"it holds x of module {__name__}, which is not a class of Keras" in self.error_of(path)

    def test_fault_39_an_external_link_inside_the_archive_is_an_error(self, path: Path, tmp_path: Path) -> None:
        def link_outside(data: bytes) -> bytes:
            (tmp_path / "inside.h5").write_bytes(data)
            with h5py.File(tmp_path / "inside.h5", "r+") as file:
                file["stolen"] = h5py.ExternalLink("/etc/other.h5", "/secret")
            return (tmp_path / "inside.h5").read_bytes()

        self.write(path)
        self.rewrite(path, "model.weights.h5", link_outside)
        assert "/stolen is a link to another place" in self.error_of(path)

    def test_a_damaged_archive_is_an_error(self, path: Path) -> None:
        self.write(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert f"conv base {path} is refused: File is not a zip file" in self.error_of(path)
        path.write_bytes(whole)
        self.rewrite(path, "config.json", lambda data: data[:-9])
        assert "is refused" in self.error_of(path)
        self.rewrite(
            path, "config.json", lambda data: json.dumps({"class_name": "Flatten", "module": "keras"}).encode()
        )
        assert "is refused" in self.error_of(path)

    def test_an_archive_that_unpacks_to_far_more_than_its_size_is_an_error(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", b" " * 2**24)
        assert "config.json unpacks to 16,777,216 bytes" in self.error_of(path)

    def rewrite(self, path: Path, member: str, change) -> None:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, change(data) if name == member else data)
