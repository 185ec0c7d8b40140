"""Models exported from an int8 store: the `.tflite` file has the store's features, the others compute in float32."""

import io
import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray, read_model_from_bytearray

from pipeline import ExportError, HeadError, SpecError, export_model, predict_images
from pipeline.cli.main import main
from pipeline.conv_base.int8 import Interpreter
from pipeline.export.assemble import find_head
from pipeline.export.load import load_exported
from pipeline.export.record import MAX_RECORD, RECORD_FILE, read_record, with_record
from pipeline.export.tflite import keras_to_tflite
from pipeline.export.verify import verify_model
from pipeline.heads.keras_layers import head_layers
from pipeline.images.decode import decode_image
from tests.exporting import tiny_store
from tests.fakes import photo

PHOTO = (24, 18)  # the size of the store's photos
DEQUANTIZE = 6  # the code of the operator with which the conv base ends


@pytest.fixture(scope="module")
def int8_store(tmp_path_factory):
    """An int8 store whose photos have the input size, and whose float conv base is gone."""
    store = tiny_store(
        tmp_path_factory.mktemp("int8"),
        heads=("logistic", "mlp", "dense", "ridge", "knn"),
        precision="int8",
        size=PHOTO,
    )
    (store.directory.parent / "tiny.keras").unlink()
    return store


@pytest.fixture
def other_size(tmp_path):
    """An int8 store of three classes whose photos are resized, with the float conv base."""
    return tiny_store(tmp_path / "other", ("cats", "dogs", "emus"), heads=("ridge", "dense"), precision="int8")


def pixels_of(store, count=6):
    """Return the first photos of a store at their own size, (count, height, width, 3) float32."""
    data = [(store.images.root / id).read_bytes() for id in store.images.ids[:count]]
    return np.stack([decode_image(photo, lambda height, width: (height, width)) for photo in data])


def features_inside(file, images):
    """Return the features that an exported `.tflite` model computes, before it rounds them."""
    model = read_model_from_bytearray(file.read_bytes())
    graph = model.subgraphs[0]
    codes = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in graph.operators]
    end = len(codes) - codes[::-1].index(DEQUANTIZE)
    graph.operators, graph.outputs = graph.operators[:end], graph.operators[end - 1].outputs
    model.signatureDefs = []
    return Interpreter(bytes(convert_object_to_bytearray(model))).run(images)


@pytest.mark.parametrize("store_dtype", ["float16", "float32"])
def test_the_features_inside_a_tflite_file_are_those_of_the_store_bit_for_bit(int8_store, tmp_path, store_dtype):
    store = int8_store
    if store_dtype == "float32":
        settings = {"precision": "int8", "size": PHOTO, "store_dtype": store_dtype}
        store = tiny_store(tmp_path / "float32", heads=("ridge",), **settings)
    file = tmp_path / "model.tflite"
    export_model(store, "ridge", file)
    features = features_inside(file, pixels_of(store))
    stored = store.read_rows(store.index.rows[: len(features)])
    assert stored.dtype == store_dtype and features.dtype == np.float32 and np.ptp(features) > 0.1
    assert features.astype(store_dtype).tobytes() == stored.tobytes()


@pytest.mark.parametrize("head", ["logistic", "mlp", "dense"])  # svm and ridge give each noise image the same
def test_a_tflite_file_has_the_probabilities_of_predict_for_images_of_the_input_size(int8_store, tmp_path, head):
    file = tmp_path / "model.tflite"
    record = export_model(int8_store, head, file)
    assert read_record(file) == record
    (tmp_path / "new").mkdir()
    for number in range(5):
        (tmp_path / f"new/{number}.png").write_bytes(photo(5000 + number, size=PHOTO))
    expected = [one.probabilities["dogs"] for one in predict_images(int8_store.directory, tmp_path / "new", head=head)]
    images = [decode_image((tmp_path / f"new/{number}.png").read_bytes(), lambda *size: size) for number in range(5)]
    found = load_exported(file, "tflite")(np.stack(images).astype(np.float32))
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)
    agreement = verify_model(int8_store, file)
    assert agreement.holds and not agreement.in_float32 and agreement.largest < 1e-6


def test_the_head_inside_takes_features_rounded_to_the_dtype_of_the_store(int8_store, tmp_path):
    file, images = tmp_path / "model.tflite", pixels_of(int8_store)
    export_model(int8_store, "dense", file)
    layers = head_layers(find_head(int8_store, "dense"), int8_store.classes)
    head = Interpreter(keras_to_tflite(keras.Sequential([keras.Input(int8_store.feature_shape), *layers])))
    features, found = features_inside(file, images), load_exported(file, "tflite")(images)
    assert found.tobytes() == head.run(features.astype(np.float16).astype(np.float32)).tobytes()
    assert (found != head.run(features)).any()


def test_without_the_float_conv_base_only_the_tflite_file_can_be_written(int8_store, tmp_path):
    with pytest.raises(SpecError, match=r"tiny\.keras"):
        export_model(int8_store, "ridge", tmp_path / "model.keras")


def test_heads_and_forms_that_a_tflite_file_cannot_hold_are_errors(int8_store, tmp_path):
    with pytest.raises(HeadError, match="a knn head cannot be expressed as Keras layers"):
        export_model(int8_store, "knn", tmp_path / "model.tflite")
    with pytest.raises(ExportError, match="takes preprocessed images, but the int8 conv base"):
        export_model(int8_store, "dense", tmp_path / "model.tflite", form="slides")
    assert not list(tmp_path.iterdir())


def test_a_damaged_conv_base_of_the_store_is_an_error(other_size, tmp_path):
    damaged = bytearray(other_size.int8_model.read_bytes())
    damaged[-1] ^= 1
    other_size.int8_model.write_bytes(damaged)
    with pytest.raises(SpecError, match="its sha256 differs"):
        export_model(other_size, "ridge", tmp_path / "model.tflite")


def test_the_command_says_which_models_compute_in_float32(other_size, tmp_path, capsys):
    for name in ("model.keras", "model.tflite"):
        export, verify = ["export", str(other_size.directory)], ["verify", str(other_size.directory), "--model"]
        assert main([*export, str(tmp_path / name), "--head", "ridge"]) == 0
        assert main([*verify, str(tmp_path / name)]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert said.count("other labels") == 2
        assert said.count("computes the conv base in float32, the store in int8") == (2 if name == "model.keras" else 0)
    export_model(other_size, "dense", tmp_path / "slides.keras", form="slides")
    assert verify_model(other_size, tmp_path / "slides.keras").in_float32


def test_a_model_of_other_weights_does_not_hold(other_size, tmp_path):
    file = tmp_path / "model.keras"
    record = export_model(other_size, "ridge", file)
    model = keras.models.load_model(file)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias + np.float32([0, 0, 50])])
    model.save(tmp_path / "changed.keras")
    file.write_bytes(with_record((tmp_path / "changed.keras").read_bytes(), record))
    assert not verify_model(other_size, file).holds


def with_archive(model, **members):
    """Return a `.tflite` file with an archive at its end."""
    data = io.BytesIO(model)
    with zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return data.getvalue()


def test_an_untrusted_tflite_file_is_refused_with_the_reason(int8_store, tmp_path):
    file = tmp_path / "model.tflite"
    record = export_model(int8_store, "ridge", file)
    whole, conv_base = file.read_bytes(), int8_store.int8_model.read_bytes()
    seven = keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D()])
    for content, reason in (
        (b"no model", "is refused"),
        (whole[:300], "is refused"),
        (conv_base, "has no record.*no archive follows"),
        (with_archive(conv_base, other="{}"), "has no record.*export it again"),
        (with_archive(conv_base, **{RECORD_FILE: " " * (MAX_RECORD + 1)}), "its record unpacks to 1,048,577 bytes"),
        (with_archive(conv_base, **{RECORD_FILE: record.to_json()}), r"takes arrays of shape \(None, 24, 18, 3\)"),
        (
            with_archive(keras_to_tflite(seven), **{RECORD_FILE: record.to_json()}),
            r"gives arrays of shape \(None, 3\), not \(None, 1\)",
        ),
    ):
        file.write_bytes(content)
        with pytest.raises(ExportError, match=reason):
            verify_model(int8_store, file)
