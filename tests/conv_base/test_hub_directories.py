"""Conv bases from directories: parity with keras-hub, what is refused, and stores made of them."""

import json
import socket
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest

from pipeline import export_model, extract_features, predict_images, scan_images, train_heads
from pipeline.conv_base.load import ConvBase, load_conv_base
from pipeline.conv_base.load_top_layers import load_top_layers
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError, StoreMismatch
from pipeline.export.verify import verify_model
from pipeline.files.file_structure import check_keras_structure
from tests.conv_base.hub_directories import MEAN, SIDE, STD, write_dinov2, write_timm_resnet18, write_vit

IMAGES = np.random.default_rng(1).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
NORMALISED = (IMAGES / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
CONVERTER = {"class_name": "ImageConverter", "config": {"scale": 0.01, "offset": [-1, -2, -3]}}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every connection be an error."""

    def fail(*arguments: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)


def spec_of(path: Path, **settings: Any) -> ConvBaseSpec:
    return ConvBaseSpec(str(path), **{"size": SIDE, "precision": "float32", "store_dtype": "float32", **settings})


def load(path: Path, **settings: Any) -> ConvBase:
    return load_conv_base(spec_of(path, **settings))


def error_of(path: Path, **settings: Any) -> str:
    with pytest.raises(SpecError) as error:
        load(path, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def library_output(path: Path, images: np.ndarray, **options: Any) -> np.ndarray:
    """What keras-hub itself gives for preprocessed images."""
    backbone = keras_hub.models.Backbone.from_preset(str(path), **options)
    return np.asarray(backbone(keras.tree.pack_sequence_as(backbone.input, [images]), training=False))


def vit_preset(path: Path) -> Path:
    backbone = keras_hub.models.ViTBackbone((SIDE, SIDE, 3), 8, 2, 2, 8, 16)
    backbone.save_to_preset(str(path))
    (path / "image_converter.json").write_text(json.dumps(CONVERTER))
    return path


def resnet_preset(path: Path) -> Path:
    backbone = keras_hub.models.ResNetBackbone([64], [7], [64, 8], [1, 1], [1, 2], "basic_block")
    backbone.save_to_preset(str(path))
    return path


class TestParity:
    def test_a_keras_preset_of_a_vit(self, tmp_path: Path) -> None:
        path = vit_preset(tmp_path / "vit")
        conv_base, images = load(path), IMAGES[:, :SIDE, :SIDE]
        tokens = library_output(path, images * np.float32(0.01) + np.array([-1, -2, -3], np.float32))
        assert conv_base.feature_shape == (2, 2, 8)
        np.testing.assert_allclose(conv_base.compute(images), tokens[:, 1:].reshape(3, 2, 2, 8), rtol=1e-4, atol=1e-4)

    def test_a_keras_preset_of_a_resnet_can_be_cut_and_tuned(self, tmp_path: Path) -> None:
        path = resnet_preset(tmp_path / "resnet")
        conv_base = load(path, size=32, preprocessing="rescale")
        np.testing.assert_allclose(conv_base.compute(IMAGES), library_output(path, IMAGES / 255), rtol=1e-4, atol=1e-4)
        lower = load(path, size=32, preprocessing="rescale", cut="top1")
        assert lower.feature_shape == (8, 8, 64) and lower.sources["cut"] == "top1"
        above = load_top_layers(lower.spec)(lower.compute(IMAGES), training=False)
        np.testing.assert_allclose(above, conv_base.compute(IMAGES), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize(("model_type", "special"), [("vit", 1), ("deit", 2)])
    def test_hugging_face_vit_and_deit(self, tmp_path: Path, model_type: str, special: int) -> None:
        path = write_vit(tmp_path / "vit", model_type)
        images = IMAGES[:, :SIDE, :SIDE]
        tokens = library_output(path, NORMALISED[:, :SIDE, :SIDE])
        patches, cls = load(path), load(path, cut="cls")
        expected = tokens[:, special:].reshape(3, 2, 2, 8)
        np.testing.assert_allclose(patches.compute(images), expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(cls.compute(images), tokens[:, 0], rtol=1e-4, atol=1e-4)
        assert cls.spec.cut == "cls" and cls.spec.weights_sha256 == patches.spec.weights_sha256

    @pytest.mark.parametrize("registers", [0, 3])
    def test_hugging_face_dinov2_at_another_size(self, tmp_path: Path, registers: int) -> None:
        path = write_dinov2(tmp_path / "dino", registers)
        conv_base = load(path, size=32, preprocessing="torch")
        mean, std = (np.array(values, np.float32) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        tokens = library_output(path, (IMAGES / 255 - mean) / std, image_shape=(32, 32, 3))
        expected = tokens[:, 1 + registers :].reshape(3, 4, 4, 8)
        np.testing.assert_allclose(conv_base.compute(IMAGES), expected, rtol=1e-4, atol=1e-4)
        assert "height and width to be the same" in error_of(path, size=(16, 24), preprocessing="torch")

    def test_timm_resnet18(self, tmp_path: Path) -> None:
        path = write_timm_resnet18(tmp_path / "resnet18")
        conv_base, expected = load(path, size=32), library_output(path, NORMALISED)
        assert conv_base.feature_shape == (1, 1, 512)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(conv_base.compute(IMAGES) / scale, expected / scale, rtol=1e-4, atol=1e-4)

    def test_a_swin_transformer_gives_a_map(self, tmp_path: Path) -> None:
        backbone = keras_hub.models.SwinTransformerBackbone((32, 32, 3), 8, [1, 1], [1, 2], 4, patch_size=2)
        backbone.save_to_preset(str(tmp_path / "swin"))
        conv_base = load(tmp_path / "swin", size=32, preprocessing="rescale")
        expected = np.asarray(backbone(IMAGES / 255)).reshape(3, 8, 8, 16)
        np.testing.assert_allclose(conv_base.compute(IMAGES), expected, rtol=1e-4, atol=1e-4)
        assert "has no layer 'cls'" in error_of(tmp_path / "swin", size=32, preprocessing="rescale", cut="cls")

    def test_bfloat16_is_near(self, tmp_path: Path) -> None:
        path, images = write_vit(tmp_path / "vit"), IMAGES[:, :SIDE, :SIDE]
        exact, short = load(path).compute(images), load(path, precision="bfloat16")
        difference = np.linalg.norm(short.compute(images) - exact) / np.linalg.norm(exact)
        assert 0 < difference < 0.05 and short.error_against_float32(images) == pytest.approx(difference, rel=1e-3)


class TestRefused:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return write_vit(tmp_path / "vit")

    def test_another_size_than_that_of_the_position_embeddings(self, path: Path) -> None:
        assert "cannot be loaded at 32x32 (its own size is 16x16: give --size)" in error_of(path, size=32)

    def test_settings_that_do_not_fit(self, path: Path) -> None:
        assert "contains its weights" in error_of(path, weights="random")
        assert "has no layer 'top'" in error_of(path, cut="top")
        (path / "preprocessor_config.json").unlink()
        assert "give --preprocessing rescale, tf, torch, caffe or none" in error_of(path)
        assert "is not a directory" in error_of(path / "missing")

    def test_fault_39_code_foreign_classes_and_pickles(self, path: Path, tmp_path: Path) -> None:
        edit(path / "config.json", auto_map={"AutoModel": "modeling.Evil"})
        assert "its auto_map names code of the directory, which is never run" in error_of(path)
        edit(path / "config.json", model_type="bert")
        (path / "config.json").write_text((path / "config.json").read_text().replace("auto_map", "other"))
        assert "model type 'bert' is none of deit, dinov2" in error_of(path)
        edit(path / "config.json", model_type="vit", hidden_act={"class_name": "Evil", "module": "os"})
        assert "of module os" in error_of(path)
        preset = vit_preset(tmp_path / "preset")
        config = json.loads((preset / "config.json").read_text())
        edit(preset / "config.json", registered_name="evil>Backbone", module="evil")
        assert "it holds evil>Backbone of module evil" in error_of(preset)
        inner = {"class_name": "Evil", "module": "os", "registered_name": "Evil", "config": {}}
        edit(preset / "config.json", **{**config, "config": {**config["config"], "dtype": inner}})
        assert "it holds Evil of module os" in error_of(preset)

    def test_fault_39_weights_that_are_a_pickle_or_in_several_files(self, path: Path) -> None:
        (path / "pytorch_model.bin").write_bytes(b"")
        assert load(path).feature_shape == (2, 2, 8)
        (path / "model.safetensors.index.json").write_text("{}")
        assert "weights in several files" in error_of(path)
        (path / "model.safetensors.index.json").unlink()
        (path / "model.safetensors").unlink()
        assert "no model.safetensors, the weights; pytorch_model.bin can run code" in error_of(path)

    def test_a_config_that_asks_for_terabytes(self, path: Path, tmp_path: Path) -> None:
        edit(path / "config.json", hidden_size=100_000, intermediate_size=100_000)
        assert "parameters, far more than model.safetensors holds" in error_of(path)
        edit(path / "config.json", hidden_size=10**9)
        assert "hidden_size 1000000000 is too large" in error_of(path)
        edit(path / "config.json", hidden_size=8, num_hidden_layers=10**4)
        assert "num_hidden_layers 10000 is too large" in error_of(path)

        dino = write_dinov2(tmp_path / "dino")
        edit(dino / "config.json", image_size=100_000)
        assert "12500x12500 patches are far more than the weights hold" in error_of(dino, preprocessing="tf")

    def test_damaged_files(self, path: Path) -> None:
        whole = (path / "model.safetensors").read_bytes()
        (path / "model.safetensors").write_bytes(whole[:-100])
        assert "cannot be loaded" in error_of(path)
        for text in ("{", "[]", "[" * 100_000, "{}"):
            (path / "config.json").write_text(text)
            assert "config.json" in error_of(path)
        (path / "config.json").write_bytes(b" " * (2**23 + 1))
        assert "more than 8,388,608 bytes" in error_of(path)

    def test_preprocessing_that_makes_no_sense(self, path: Path) -> None:
        for changes in ({"image_std": [0, 0, 0]}, {"image_mean": [0.5]}, {"image_mean": "x"}, {"rescale_factor": {}}):
            edit(path / "preprocessor_config.json", **{"image_mean": MEAN, "image_std": STD, **changes})
            assert "does not tell mean and standard deviation" in error_of(path)

    def test_without_keras_hub(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "keras_hub", None)
        assert "pip install -e '.[hub]'" in error_of(path)


def test_a_store_of_a_directory(tmp_path: Path, photos: Path) -> None:
    path, cache = write_vit(tmp_path / "tiny-vit"), tmp_path / "store"
    store = extract_features(scan_images(photos), cache, spec_of(f"{path}/"), batch_size=4)
    assert store.manifest.sources["conv_base"] == str(path) and store.spec.name == "tiny-vit"
    train_heads(store, ["ridge"])
    assert next(iter(predict_images(cache, [photos]))).label in ("cats", "dogs")
    record = export_model(store, "ridge", tmp_path / "model.keras")
    assert "import keras_hub" in record.input
    check_keras_structure(tmp_path / "model.keras")
    assert verify_model(store, tmp_path / "model.keras", images=5).holds
    edit(path / "preprocessor_config.json", image_mean=[0, 0, 0])
    with pytest.raises(StoreMismatch, match="conv_base_sha256"):
        extract_features(scan_images(photos), cache, spec_of(path))
