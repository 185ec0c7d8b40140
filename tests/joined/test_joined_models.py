"""Joined stores with real conv bases: predictions for new images, verification and exported models."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import (
    ConvBaseSpec,
    assemble_model,
    export_model,
    extract_features,
    join_stores,
    load_head,
    open_features,
    predict_images,
    scan_images,
    train_heads,
    verify_store,
)
from pipeline.errors import ExportError, StoreError
from pipeline.export.verify import verify_model
from pipeline.extraction.conv_base_loading import load_any_conv_base, load_stored_conv_base
from tests.exporting import conv_base_file
from tests.fakes import Recorder, photo, photo_folder

HEADS = ("logistic", "dense", "knn")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Three stores of eighty photos: one conv base at two sizes and two dtypes, and in int8."""
    root = tmp_path_factory.mktemp("stores")
    images = scan_images(photo_folder(root / "photos", 40))
    spec = ConvBaseSpec(str(conv_base_file(root / "tiny.keras")), preprocessing="rescale", precision="float32")
    specs = {
        "a": replace(spec, size=(24, 20)),
        "b": replace(spec, size=16, preprocessing="tf", store_dtype="float32", resize="antialias"),
        "int8": replace(spec, size=12, precision="int8"),
    }
    return {name: extract_features(images, root / name, spec) for name, spec in specs.items()}


@pytest.fixture(scope="module")
def joined(stores):
    """The first two stores joined, with heads."""
    store = join_stores([stores["a"], stores["b"]])
    train_heads(store, HEADS, params={"logistic": {"C": 1.0}, "dense": {"epochs": 2}, "knn": {"k": 3}})
    return store


@pytest.fixture
def new(tmp_path):
    """Five photos that no store has, and a file that is none."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(photo(7000 + number, size=(30, 40)))
    (folder / "bad.png").write_bytes(b"no image")
    return folder


def features_of(folder, stores, root):
    """The joined features of new images, as stage one makes them in stores of their own."""
    labelled = root / "labelled"
    for i, path in enumerate(sorted(folder.glob("[0-9].png"))):
        (labelled / "xy"[i % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, labelled / "xy"[i % 2] / path.name)
    images = scan_images(labelled)
    store = join_stores([extract_features(images, root / name, store.spec) for name, store in stores.items()])
    return {store.images.ids[i][2:]: store.read_rows(store.index.rows[[i]])[0] for i in store.members().tolist()}


@pytest.mark.parametrize("head", ["logistic", "knn"])
def test_new_images_are_labelled_by_the_features_of_all_conv_bases(joined, stores, new, tmp_path, head):
    predictions = list(predict_images(joined.directory, new, head))
    assert [p.error == "" for p in predictions] == [True] * 5 + [False]
    features = features_of(new, {name: stores[name] for name in "ab"}, tmp_path)
    rows = np.stack([features[f"{number}.png"] for number in range(5)])
    expected = load_head(joined.heads_directory / head).predict_proba(rows)
    assert np.allclose([list(p.probabilities.values()) for p in predictions[:5]], expected, atol=1e-4)
    assert len(np.unique(rows, axis=0)) == 5


def test_images_of_the_store_are_labelled_by_their_rows(joined):
    paths = joined.images.paths[:7]
    predictions = list(predict_images(joined.directory, paths, "logistic"))
    expected = load_head(joined.heads_directory / "logistic").predict_proba(joined.read_rows(joined.index.rows[:7]))
    assert np.array_equal([list(p.probabilities.values()) for p in predictions], expected)


def test_recomputed_rows_are_those_of_the_parts(joined):
    recomputed = []
    assert verify_store(joined.directory, full=True, recompute=9, callbacks=Recorder([], recomputed)) == []
    ((rows, largest),) = recomputed
    assert rows == 9 and largest < 1e-5


def test_distances_and_unknown_images_work(joined, new):
    predictions = list(predict_images(joined.directory, new, "knn", unknown=0.99))
    assert all(0 <= p.distance <= 2 for p in predictions[:5])


@pytest.mark.parametrize("head", ["logistic", "dense"])
def test_a_keras_file_has_both_conv_bases(joined, head, tmp_path):
    export_model(joined, head, tmp_path / "model.keras")
    agreement = verify_model(joined, tmp_path / "model.keras")
    assert agreement.holds and agreement.largest < 1e-5
    model = assemble_model(joined, head)
    names = [layer.name for layer in model.layers]
    assert {"resize_1", "resize_2", "tiny_1", "tiny_2", "as_stored_1", "pool_1", "pool_2", "join"} <= set(names)
    assert "as_stored_2" not in names and model.name.startswith("tiny_tiny-")


def test_a_saved_model_agrees(joined, stores, tmp_path):
    from pipeline.export.load import load_exported
    from pipeline.export.verify import compare_with_store

    export_model(joined, "logistic", tmp_path / "model")
    predict, head = load_exported(tmp_path / "model", "savedmodel"), load_head(joined.heads_directory / "logistic")
    assert compare_with_store(joined, head, predict, "image", format="savedmodel", images=4).largest < 1e-5


def test_what_cannot_be_exported_is_said(joined, tmp_path):
    with pytest.raises(ExportError, match="the slides' model has one conv base"):
        export_model(joined, "dense", tmp_path / "model.keras", form="slides")
    with pytest.raises(StoreError, match="is joined of"):
        assemble_model(joined, "dense", form="slides")
    with pytest.raises(ExportError, match="no antialiased resizing"):
        export_model(joined, "dense", tmp_path / "model.tflite")


def test_an_int8_part_goes_with_the_joined_store(stores, new, tmp_path):
    parts = {name: stores[name] for name in ("int8", "a")}
    store = join_stores(parts.values(), tmp_path / "joined")
    train_heads(store, ["logistic"], params={"logistic": {"C": 1.0}})
    shutil.move(tmp_path / "joined", tmp_path / "moved")
    moved = open_features(tmp_path / "moved")
    head = load_head(moved.heads_directory / "logistic")
    conv_bases = [(part.spec, load_stored_conv_base(part, Recorder([]))) for part in parts.values()]
    for prediction in predict_images(moved.directory, sorted(new.glob("[0-9].png"))):
        data = Path(prediction.path).read_bytes()
        maps = [base.compute(spec.decode_image(data)[None]).astype(spec.store_dtype) for spec, base in conv_bases]
        row = np.concatenate([features.mean(axis=(1, 2), dtype=np.float32) for features in maps], axis=1)
        assert np.allclose(list(prediction.probabilities.values()), head.predict_proba(row)[0], atol=1e-4)
    conv_base = load_any_conv_base(moved, Recorder([]))
    assert conv_base.parts[0].model == (stores["int8"].directory / "conv_base.tflite").read_bytes()
    assert verify_store(moved.directory, recompute=3) == []

    export_model(moved, "logistic", tmp_path / "model.tflite")
    agreement = verify_model(moved, tmp_path / "model.tflite")
    assert agreement.in_float32 and agreement.holds

    (moved.directory / "parts/1/conv_base.tflite").write_bytes(b"other")
    (finding,) = verify_store(moved.directory)
    assert finding.what == "parts/1/conv_base.tflite" and "`" in finding.remedy and "heads" in finding.remedy
    join_stores(parts.values(), moved.directory)
    assert verify_store(moved.directory) == []


def test_a_directory_with_other_files_stays_as_it_is(stores, tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(StoreError, match=r"holds notes.txt and no store"):
        join_stores([stores["a"], stores["int8"]], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
