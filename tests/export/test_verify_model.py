"""`verify_model`: an exported file is compared with features and head, or an error says why not."""

import json
import zipfile

import keras
import numpy as np
import pytest

from pipeline import ExportError, HeadError, ImagesError, StoreMismatch, export_model, load_head, make_head, train_heads
from pipeline.cli.main import main
from pipeline.export.assemble import find_head
from pipeline.export.load import load_exported
from pipeline.export.record import KEY, read_record, with_record
from pipeline.export.verify import compare_with_store, verify_model
from tests.exporting import tiny_store


def test_the_slides_form_takes_preprocessed_images(store, tmp_path):
    export_model(store, "dense", tmp_path / "slides.keras", form="slides")
    agreement = verify_model(store, tmp_path / "slides.keras", images=7)
    assert agreement.images == 7 and agreement.largest < 1e-3
    assert "24x20" in read_record(tmp_path / "slides.keras").input


def test_the_bound_is_larger_if_features_and_model_differ_in_precision(tmp_path):
    store = tiny_store(tmp_path / "short", heads=("ridge",), precision="bfloat16")
    assert main(["export", str(store.directory), str(tmp_path / "model.tflite")]) == 0
    head, predict = load_head(store.heads_directory / "ridge"), load_exported(tmp_path / "model.tflite", "tflite")
    agreements = [
        compare_with_store(store, head, predict, "image", format=format, images=2) for format in ("tflite", "keras")
    ]
    assert [agreement.bound for agreement in agreements] == [0.2, 0.05]


def test_a_model_of_another_store_or_of_another_head_is_an_error(store, own_store, tmp_path):
    file = tmp_path / "model.keras"
    export_model(own_store, "ridge", file)
    other = tiny_store(tmp_path / "other", heads=("ridge",), size=(32, 32))
    with pytest.raises(StoreMismatch, match=f"{own_store.fingerprint[:12]}.*{other.fingerprint[:12]}"):
        verify_model(other, file)
    old = load_head(own_store.heads_directory / "ridge").model_sha256_
    train_heads(own_store, ["ridge"], params={"ridge": {"alpha": 3.0}})
    new = load_head(own_store.heads_directory / "ridge").model_sha256_
    with pytest.raises(StoreMismatch, match=f"ridge head {old[:12]}.*{new[:12]}"):
        verify_model(own_store, file)


def test_a_head_that_was_never_saved_cannot_be_verified(store, tmp_path):
    export_model(store, make_head("ridge").fit(*store.load("train")), tmp_path / "model.keras")
    with pytest.raises(ExportError, match="never saved"):
        verify_model(store, tmp_path / "model.keras")


def test_an_untrusted_file_and_a_file_of_another_type_are_errors(store, tmp_path):
    file = tmp_path / "model.keras"
    with pytest.raises(ExportError, match="is not a file"):
        verify_model(store, file)
    file.write_bytes(b"PK but no zip")
    with pytest.raises(ExportError, match="is refused"):
        verify_model(store, file)
    file.unlink()
    record = export_model(store, "ridge", file)
    lambda_model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Lambda(lambda x: x)])
    lambda_model.save(tmp_path / "lambda.keras")
    file.write_bytes(with_record((tmp_path / "lambda.keras").read_bytes(), record))
    with pytest.raises(ExportError, match=r"refused.*[Ll]ambda"):
        verify_model(store, file)


def test_a_file_that_keras_saved_again_has_no_record(store, tmp_path):
    export_model(store, "ridge", tmp_path / "model.keras")
    keras.models.load_model(tmp_path / "model.keras").save(tmp_path / "again.keras")
    with pytest.raises(ExportError, match=r"has no record.*export it again"):
        verify_model(store, tmp_path / "again.keras")


@pytest.mark.parametrize("name", ["model", "model.onnx", "."])
def test_verifying_another_format_is_an_error_that_gives_the_command_for_a_keras_file(store, tmp_path, name):
    with pytest.raises(
        ExportError, match=rf"only a \.keras or \.tflite file.*pipeline export {store.directory} FILE\.keras`"
    ):
        verify_model(store, tmp_path / name)


@pytest.mark.parametrize(
    ("sides", "columns", "words"),
    [
        ((None, None), 7, r"gives arrays of shape \(None, 7\), not \(None, 1\)"),
        ((8, 8), 1, r"takes arrays of shape \(None, 8, 8, 3\), not \(None, None, None, 3\)"),
    ],
)
def test_a_model_whose_shapes_are_not_those_of_its_record_is_an_error(store, tmp_path, sides, columns, words):
    file = tmp_path / "model.keras"
    record = export_model(store, "ridge", file)
    images = keras.Input((*sides, 3))
    scores = keras.layers.Dense(columns)(keras.layers.GlobalAveragePooling2D()(images))
    keras.Model(images, scores).save(tmp_path / "other.keras")
    file.write_bytes(with_record((tmp_path / "other.keras").read_bytes(), record))
    with pytest.raises(ExportError, match=words):
        verify_model(store, file)


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"head": 5}, {"classes": None}, {"classes": [1, 2]}, {"classes": "ab"}, {"surprise": 1}]
)
def test_a_record_with_wrong_values_is_an_error(store, tmp_path, change):
    file = tmp_path / "model.keras"
    export_model(store, "ridge", file)
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(tmp_path / "garbled.keras", "w") as target:
        for member in source.infolist():
            data = json.loads(source.read(member)) if member.filename == "metadata.json" else None
            if data is not None:
                data[KEY] |= change
            target.writestr(member, source.read(member) if data is None else json.dumps(data))
    with pytest.raises(ExportError):
        read_record(tmp_path / "garbled.keras")


def test_an_image_that_was_changed_or_is_missing_is_an_error_that_names_it(own_store, tmp_path):
    export_model(own_store, "ridge", tmp_path / "model.keras")
    first = own_store.ids("validation")[0]
    path = own_store.images.root / first
    path.write_bytes((own_store.images.root / own_store.ids("train")[0]).read_bytes())
    with pytest.raises(ImagesError, match="not the image that its features were made from"):
        verify_model(own_store, tmp_path / "model.keras")
    path.unlink()
    with pytest.raises(ImagesError, match="cannot be read"):
        verify_model(own_store, tmp_path / "model.keras")


def test_a_head_trained_on_class_names_is_an_error(store):
    X, y = store.load("train")
    head = make_head("logistic").fit(X, np.array(store.classes)[y])
    with pytest.raises(HeadError, match="not on numbers of classes"):
        find_head(store, head)


def test_a_model_with_other_probabilities_gives_status_1(store, tmp_path, capsys):
    file = tmp_path / "model.keras"
    record = export_model(store, "logistic", file)
    model = keras.models.load_model(file)
    model.layers[-1].set_weights([-weight for weight in model.layers[-1].get_weights()])
    model.save(tmp_path / "changed.keras")
    file.write_bytes(with_record((tmp_path / "changed.keras").read_bytes(), record))
    assert main(["verify", str(store.directory), "--model", str(file)]) == 1
    assert "is more than float32 explains: 0.001" in " ".join(capsys.readouterr().err.split())
