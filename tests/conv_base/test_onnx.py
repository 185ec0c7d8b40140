"""Conv bases from `.onnx` files: parity with onnxruntime, the files that are refused, and stores made of them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline import extract_features, finetune_head, open_features, predict_images, scan_images, train_heads
from pipeline.conv_base.onnx_check import check_onnx_model
from pipeline.conv_base.onnx_conv_base import OnnxConvBase, load_onnx
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError, StoreError, StoreMismatch
from pipeline.export.assemble import assemble_model
from pipeline.files.check_untrusted import check_in_child
from pipeline.maintenance.verify import verify_store

RNG = np.random.default_rng(0)
SIDE = 16


def tiny_model(
    *, channels_first: bool = True, batch: int | str = "n", domain: str = "", side: int | str = SIDE
) -> onnx.ModelProto:
    """A classifier of two classes: convolution `map`, average `pooled`, and the output `logits`."""
    weights = {"kernel": RNG.normal(size=(4, 3, 3, 3)), "dense": RNG.normal(size=(4, 2))}
    turn = [] if channels_first else [helper.make_node("Transpose", ["images"], ["turned"], perm=[0, 3, 1, 2])]
    nodes = [
        *turn,
        helper.make_node("Conv", ["images" if channels_first else "turned", "kernel"], ["conv"], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["map"], domain=domain),
        helper.make_node("ReduceMean", ["map"], ["pooled"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["pooled", "dense"], ["logits"]),
    ]
    shape = [batch, 3, side, side] if channels_first else [batch, side, side, 3]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 2])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def spec_of(path: Path, **settings: object) -> ConvBaseSpec:
    return ConvBaseSpec(str(path), **{"size": SIDE, "preprocessing": "rescale", "store_dtype": "float32", **settings})


def load(path: Path, model: onnx.ModelProto | None = None, **settings: object) -> OnnxConvBase:
    onnx.save(model or tiny_model(), path)
    return load_onnx(spec_of(path, **settings))


def error_of(path: Path, model: onnx.ModelProto | None = None, **settings: object) -> str:
    with pytest.raises(SpecError) as error:
        load(path, model, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.onnx"


@pytest.fixture
def images() -> np.ndarray:
    return RNG.uniform(0, 255, (5, SIDE, SIDE, 3)).astype(np.float32)


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("batch", ["n", 1])
def test_features_are_those_of_onnxruntime(path: Path, images: np.ndarray, channels_first: bool, batch) -> None:
    conv_base = load(path, tiny_model(channels_first=channels_first, batch=batch))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = images.transpose(0, 3, 1, 2) / 255 if channels_first else images / 255
    expected = [session.run(None, {"images": image[None]})[0][0] for image in pixels]
    np.testing.assert_allclose(conv_base.compute(images), expected, rtol=1e-4, atol=1e-4)
    assert conv_base.feature_shape == (2,) and conv_base.spec.cut is None and conv_base.spec.precision == "float32"


def test_a_cut_at_an_inner_tensor_gives_maps_with_channels_last(path: Path, images: np.ndarray) -> None:
    conv_base = load(path, cut="map", preprocessing="torch")
    assert conv_base.feature_shape == (7, 7, 4) and conv_base.spec.cut == "map"
    features = conv_base.compute(images)
    dense = numpy_helper.to_array(onnx.load(path).graph.initializer[1])
    logits = load_onnx(spec_of(path, preprocessing="torch")).compute(images)
    np.testing.assert_allclose(features.mean(axis=(1, 2)) @ dense, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(conv_base.compute(images[:1]), features[:1], rtol=1e-4, atol=1e-5)
    assert load_onnx(spec_of(path, cut="logits")).spec.cut is None
    assert "among its 4 are map, logits" in error_of(path, cut="mapp")


def test_what_a_cut_does_not_need_is_not_computed(path: Path) -> None:
    model = tiny_model(side="s")
    model.graph.initializer.append(numpy_helper.from_array(np.array([5, 4]), "shape"))
    model.graph.node[2].CopyFrom(helper.make_node("Reshape", ["map", "shape"], ["pooled"]))  # which is impossible
    assert load(path, model, cut="map", size=20).feature_shape == (9, 9, 4)
    assert "Reshape" in error_of(path, model, size=20)


def test_settings_that_do_not_fit_are_errors(path: Path) -> None:
    assert "--preprocessing rescale, tf, torch, caffe or none" in error_of(path, preprocessing="own")
    assert "takes images of 16x16, not 20x20: give --size 16x16" in error_of(path, size=20)
    assert "contains its weights" in error_of(path, weights="random")
    assert "takes 8 images at a time" in error_of(path, tiny_model(batch=8))
    path.unlink()
    with pytest.raises(SpecError, match="is not a file"):
        load_onnx(spec_of(path))
    for precision in ("bfloat16", "float16", "int8"):
        with pytest.raises(SpecError, match=f"computes in float32, not in {precision}"):
            spec_of(path, precision=precision)


def test_other_inputs_and_outputs_are_errors(path: Path) -> None:
    model = tiny_model()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    assert "has 2 inputs" in error_of(path, model)
    grey = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, SIDE, SIDE]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "grey", grey[:1], grey[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert "its input x (anyx1x16x16) is not for RGB images of float32" in error_of(path, model)


def test_fault_39_custom_operators_and_external_data_are_refused(path: Path) -> None:
    assert "is refused: it has the custom operator com.evil.Relu" in error_of(path, tiny_model(domain="com.evil"))
    model = tiny_model()
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    with pytest.raises(SpecError, match=r"the values of kernel are in another file; save the model as one file"):
        load_onnx(spec_of(path))
    inner = helper.make_graph([helper.make_node("Relu", ["images"], ["y"], domain="evil")], "then", [], [])
    model = tiny_model()
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    assert "custom operator evil.Relu" in error_of(path, model)


def test_a_damaged_file_is_refused(path: Path) -> None:
    whole = tiny_model().SerializeToString()
    for data in (b"", b"<html>", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(SpecError, match="is refused"):
            load_onnx(spec_of(path))


def test_the_check_runs_in_a_child(path: Path) -> None:
    onnx.save(tiny_model(), path)
    check_in_child(check_onnx_model, path)
    onnx.save(tiny_model(domain="evil"), path)
    with pytest.raises(ValueError, match=r"custom operator evil\.Relu"):
        check_in_child(check_onnx_model, path)


def test_a_store_of_an_onnx_model(path: Path, photos: Path, tmp_path: Path, monkeypatch) -> None:
    onnx.save(tiny_model(), path)
    spec, cache = spec_of(path, cut="map"), tmp_path / "store"
    store = extract_features(scan_images(photos), cache, spec, batch_size=4)
    assert store.manifest.sources["conv_base"] == str(path) and "onnxruntime" in store.manifest.made_with
    train_heads(store, ["ridge"])
    predictions = list(predict_images(cache, [next(photos.rglob("*.png"))], batch_size=3))
    assert predictions[0].label in ("cats", "dogs")
    assert verify_store(cache, recompute=20) == []
    with pytest.raises(SpecError, match="a Keras model cannot contain"):
        assemble_model(open_features(cache), "ridge")
    with pytest.raises(StoreError, match="holds features of an ONNX model"):
        finetune_head(open_features(cache))
    monkeypatch.setattr("pipeline.extraction.conv_base_loading.load_onnx", None)  # it is not loaded again
    assert extract_features(scan_images(photos), cache, spec).fingerprint == store.fingerprint
    path.write_bytes(path.read_bytes() + b"\x72\x00")
    with pytest.raises(StoreMismatch, match="conv_base_sha256"):
        monkeypatch.undo()
        extract_features(scan_images(photos), cache, spec)
