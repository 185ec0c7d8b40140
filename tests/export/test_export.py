"""Exported models: written, read in a process without this package, and tested by the command."""

import json
import subprocess
import sys
import types
import zipfile
from importlib.machinery import ModuleSpec

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline import ExportError, export_model, load_head
from pipeline.cli.main import main
from pipeline.export.load import load_exported
from pipeline.export.record import KEY, read_record
from pipeline.export.verify import compare_with_store, verify_model
from pipeline.export.write import check_request
from pipeline.images.decode import decode_image
from pipeline.text import COMMAND
from tests.exporting import KERAS_HEADS, tiny_store

WITHOUT_PACKAGE = """
import sys, json
import numpy as np
import keras
found = []
for file in sys.argv[2:]:
    model = keras.models.load_model(file)
    probabilities = model.predict(np.load(sys.argv[1]), verbose=0)
    found.append([probabilities.tolist(), model.layers[-1].name, model.name])
assert "pipeline" not in sys.modules
print(json.dumps(found))
"""


def same_size(store, count=5):
    """Return some photos at their own size, of shape (count, height, width, 3), uint8."""
    data = [(store.images.root / id).read_bytes() for id in store.images.ids[:count]]
    return np.stack([decode_image(photo, lambda height, width: (height, width)) for photo in data]).astype(np.uint8)


def test_a_process_without_this_package_gets_the_same_probabilities(store, tmp_path):
    short = tiny_store(tmp_path / "short", heads=("ridge",), precision="bfloat16")
    stores = {tmp_path / "model.keras": store, tmp_path / "short.keras": short}
    for file, one in stores.items():
        export_model(one, "ridge", file)
    np.save(tmp_path / "photos.npy", same_size(store))
    command = [sys.executable, "-I", "-c", WITHOUT_PACKAGE, tmp_path / "photos.npy", *stores]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for one, (found, last_layer, name) in zip(stores.values(), json.loads(done.stdout.splitlines()[-1]), strict=True):
        expected = load_head(one.heads_directory / "ridge").predict_proba(one.load()[0][:5])[:, 1:]
        np.testing.assert_allclose(found, expected, atol=1e-3 if one is store else 0.02)
        assert last_layer == "classes.cats.dogs" and one.fingerprint[:12] in name


@pytest.mark.parametrize("head", KERAS_HEADS)
def test_a_keras_file_of_every_head_agrees_with_features_and_head(store, head, tmp_path):
    export_model(store, head, tmp_path / "model.keras")
    agreement = verify_model(store, tmp_path / "model.keras")
    assert agreement.holds and agreement.largest < 1e-5 and agreement.other_labels == 0
    assert agreement.images == len(store.members("validation"))


def test_a_keras_file_needs_no_class_of_this_package_and_has_a_record(store, tmp_path):
    record = export_model(store, "svm", tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config, metadata = archive.read("config.json").decode(), json.loads(archive.read("metadata.json"))
    assert "pipeline" not in config and "Lambda" not in config
    assert "keras_version" in metadata and metadata[KEY]["classes"] == ["cats", "dogs"]
    assert read_record(tmp_path / "model.keras") == record
    assert record.fingerprint == store.fingerprint and record.head == "svm" and "dogs" in record.output


@pytest.mark.parametrize("format", ["savedmodel", "tflite"])
def test_other_formats_agree_and_have_a_record(store, format, tmp_path):
    file = tmp_path / {"savedmodel": "model", "tflite": "model.tflite"}[format]
    export_model(store, "logistic", file)
    head = load_head(store.heads_directory / "logistic")
    assert compare_with_store(store, head, load_exported(file, format), "image", format=format, images=5).largest < 1e-3
    if format == "tflite":
        assert verify_model(store, file).largest < 1e-3
    if format == "savedmodel":
        record = json.loads((file / "assets.extra" / f"{KEY}.json").read_text())
    else:
        with zipfile.ZipFile(file) as extras:
            record, labels = json.loads(extras.read(f"{KEY}.json")), extras.read("labels.txt").decode()
        assert labels.split() == ["cats", "dogs"]
    assert record["classes"] == ["cats", "dogs"] and record["head"] == "logistic"


def test_an_exported_model_computes_in_float32_and_not_in_tensor_float_32(store, tmp_path):
    export_model(store, "ridge", tmp_path / "model.keras")
    tf.config.experimental.enable_tensor_float_32_execution(True)
    load_exported(tmp_path / "model.keras", "keras")
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_without_the_packages_of_onnx_the_error_gives_them_before_anything_is_loaded(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match="pip install onnx tf2onnx"):
        export_model(store, "no such head", tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_converter_is_one_line_and_leaves_no_file(store, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise KeyError("no such\noperation")

    for name in ("onnx", "tf2onnx"):
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(keras.Model, "export", fail)
    with pytest.raises(ExportError, match="converter to ONNX cannot express this model: 'no such"):
        export_model(store, "ridge", tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx"])
def test_formats_without_antialiased_resizing_are_an_error(tmp_path, name):
    store = tiny_store(tmp_path / "antialias", heads=("ridge",), resize="antialias")
    with pytest.raises(ExportError, match=r"no antialiased resizing.*write a \.keras file"):
        export_model(store, "ridge", tmp_path / name)
    assert not (tmp_path / name).exists()


def test_onnx_agrees_where_its_packages_are_installed(store, tmp_path):
    for name in ("onnx", "tf2onnx", "onnxruntime"):
        pytest.importorskip(name, reason="an optional package of ONNX is not installed")
    export_model(store, "mlp", tmp_path / "model.onnx")
    head = load_head(store.heads_directory / "mlp")
    predict = load_exported(tmp_path / "model.onnx", "onnx")
    assert compare_with_store(store, head, predict, "image", format="onnx", images=5).largest < 1e-3


@pytest.mark.parametrize(
    ("name", "format", "words"),
    [
        ("model.h5", None, "no format has the suffix .h5"),
        ("model", "keras", "ends in .keras"),
        ("model.keras", "pickle", "format 'pickle' is not one of"),
        ("taken", None, "is not a SavedModel"),
        ("taken.keras", None, "is not a keras model"),
    ],
)
def test_names_that_fit_no_format_are_errors_before_anything_is_loaded(store, tmp_path, name, format, words):
    for taken in ("taken", "taken.keras"):
        (tmp_path / taken).mkdir()
    with pytest.raises(ExportError, match=words):
        export_model(store, "no such head", tmp_path / name, format=format)


@pytest.mark.parametrize("name", ["model.keras", "model.tflite", "model"])
def test_a_file_that_is_not_a_model_of_the_format_is_never_replaced(store, tmp_path, name):
    notes = tmp_path / name
    if name == "model":
        export_model(store, "ridge", notes)
        notes /= "notes.txt"
    notes.write_text("mine")
    with pytest.raises(ExportError, match=r"exists and is not a .*; give another name, or remove it"):
        export_model(store, "no such head", tmp_path / name)
    assert notes.read_text() == "mine"


def test_an_empty_file_and_models_of_the_format_may_be_replaced(store, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.export.write.find_spec", lambda package: package)  # as if ONNX were installed
    for name, start in (("a.keras", b"PK\x03\x04"), ("a.tflite", b"\x1c\0\0\0TFL3"), ("a.onnx", b"\x08\x08\x12\x07")):
        for content in (b"", start + b"more"):
            (tmp_path / name).write_bytes(content)
            assert check_request(store, tmp_path / name) == name[2:]


def test_an_error_while_writing_leaves_the_older_model_complete(store, tmp_path, monkeypatch):
    for name in ("model.keras", "model"):
        export_model(store, "ridge", tmp_path / name)
        export_model(store, "svm", tmp_path / name)
    assert read_record(tmp_path / "model.keras").head == "svm"

    def fill_half(model, path, **options):
        (path / "half").write_text("half")
        raise OSError("no space left")

    monkeypatch.setattr(keras.Model, "export", fill_half)
    with pytest.raises(OSError, match="no space left"):
        export_model(store, "ridge", tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.keras"]
    assert json.loads((tmp_path / "model/assets.extra" / f"{KEY}.json").read_text())["head"] == "svm"


def test_the_command_exports_the_best_head_and_tests_the_file(store, tmp_path, capsys):
    file = tmp_path / "new" / "model.keras"
    assert main(["export", str(store.directory), str(file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    best = max(
        KERAS_HEADS,
        key=lambda name: json.loads((store.heads_directory / name / "metrics.json").read_text())["accuracy"],
    )
    assert read_record(file).head == best and f"head {best}: the best, validation accuracy" in said
    assert "output the probability of dogs" in said and "against features and head on 8 images" in said
    assert main(["verify", str(store.directory), "--model", str(file), "--images", "3"]) == 0
    assert "on 3 images" in capsys.readouterr().out


def test_the_command_ends_with_status_2_for_a_missing_head_or_file(store, tmp_path, capsys):
    assert main(["export", str(store.directory), str(tmp_path / "m.keras"), "--head", "knn"]) == 2
    assert "no head 'knn'" in capsys.readouterr().err
    gone = str(tmp_path / "gone.keras")
    assert main(["verify", str(store.directory), "--model", gone]) == 2
    out, err = capsys.readouterr()
    assert f"is not a file; write it with `{COMMAND} export {store.directory} {gone}`" in err
    assert out == ""  # refused before the store is checked


class BrokenModel:
    """A model that cannot be called."""

    input_shape = output_shape = (None, 1)

    def __call__(self, *inputs, **options):
        raise RuntimeError("bad operation")


def load_instead(monkeypatch, file, load):
    """Call `load` where Keras would load `file`."""
    load_model = keras.models.load_model
    monkeypatch.setattr(
        keras.models, "load_model", lambda path, **options: load() if path == file else load_model(path, **options)
    )


@pytest.mark.parametrize("load", [BrokenModel, BrokenModel()], ids=["calling", "loading"])
def test_a_written_file_that_does_not_run_gives_status_1(store, tmp_path, capsys, monkeypatch, load):
    file = tmp_path / "model.keras"
    load_instead(monkeypatch, file, load)
    assert main(["export", str(store.directory), str(file), "--head", "logistic"]) == 1
    assert "does not run" in " ".join(capsys.readouterr().err.split())


def test_a_written_file_that_nothing_installed_can_run_is_reported_as_not_tested(store, tmp_path, capsys, monkeypatch):
    def load():
        raise ImportError("no onnxruntime")

    file = tmp_path / "model.keras"
    load_instead(monkeypatch, file, load)
    assert main(["export", str(store.directory), str(file), "--head", "logistic"]) == 0
    assert "could not be tested" in " ".join(capsys.readouterr().err.split())


def test_a_written_file_stays_if_the_images_to_test_it_on_are_missing(own_store, tmp_path, capsys):
    for id in own_store.images.ids:
        (own_store.images.root / id).unlink()
    file = tmp_path / "model.keras"
    assert main(["export", str(own_store.directory), str(file)]) == 0
    assert file.is_file() and "could not be tested" in " ".join(capsys.readouterr().err.split())
