"""Stores, heads and exported models that version 0.1.0 wrote are still read; `tests/data/README.md` says how it did."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import ConvBaseSpec, extract_features, load_head, open_features, predict_images, scan_images, verify_store
from pipeline.store import open_views
from pipeline.training.saved_heads import list_saved_heads

ARCHIVE = Path(__file__).parent.parent / "data" / "store_0_1_0.tar.gz"
HEADS = ("logistic", "dense", "ridge", "knn")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The unpacked archive; its stores name an image folder that does not exist here."""
    folder = tmp_path_factory.mktemp("store_0_1_0")
    with tarfile.open(ARCHIVE) as file:
        file.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected(archive) -> dict[str, np.ndarray]:
    """What version 0.1.0 read from the stores, heads and models in the archive."""
    with np.load(archive / "expected.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", ["store", "gzip", "cut"])
def test_every_row_and_label_of_an_old_store_is_read(archive, expected, name):
    store = open_features(archive / name)
    features, labels = store.load()
    assert store.ids() == expected["ids"].tolist()
    assert np.array_equal(features, expected["cut_features" if name == "cut" else "features"])
    assert np.array_equal(labels, expected["labels"])
    assert [bad.id for bad in store.bad] == ["dogs/broken.png"]


@pytest.mark.parametrize("name", ["store", "gzip", "cut"])
def test_the_spec_of_an_old_store_decodes_exactly_and_has_its_fingerprint(archive, name):
    store = open_features(archive / name)
    assert store.spec.decode == "exact" and store.spec.fingerprint == store.fingerprint


def test_the_views_of_an_old_store_are_read(archive, expected):
    (view,) = open_views(open_features(archive / "store"))
    assert view.ids() == expected["view_ids"].tolist()
    assert np.array_equal(view.load()[0], expected["view_features"])


@pytest.mark.parametrize("name", ["store", "gzip", "cut"])
def test_nothing_is_wrong_with_an_old_store(archive, name):
    assert verify_store(archive / name, full=True) == []


@pytest.mark.parametrize("name", HEADS)
def test_an_old_head_gives_the_same_probabilities(archive, expected, name):
    store = open_features(archive / "store")
    head = load_head(store.heads_directory / name, fingerprint=store.fingerprint)
    assert head.predict_proba(expected["features"]) == pytest.approx(expected[name], abs=1e-5)


def test_an_old_finetuned_head_gives_the_same_probabilities(archive, expected):
    store = open_features(archive / "cut")
    head = load_head(store.heads_directory / "finetuned", fingerprint=store.fingerprint)
    assert head.predict_proba(expected["cut_features"]) == pytest.approx(expected["finetuned"], abs=1e-5)


def test_the_scores_of_old_heads_are_read_and_not_stale(archive):
    heads = list_saved_heads(open_features(archive / "store"))
    assert {head.name for head in heads} == set(HEADS)
    assert [head.problem for head in heads] == [None] * len(HEADS)


@pytest.mark.parametrize("name", ["store", "gzip", "cut"])
def test_stage_one_on_an_old_store_computes_nothing(archive, expected, monkeypatch, name):
    def load_conv_base(spec):
        raise AssertionError("the conv base is loaded although every row is in the store")

    monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", load_conv_base)
    old = open_features(archive / name)
    conv_base = str(archive / "conv_base.keras")
    spec = ConvBaseSpec(conv_base, size=12, cut=old.spec.cut, preprocessing="rescale", precision="float32")
    for _ in range(2):  # the first run writes down where the images are now
        store = extract_features(scan_images(archive / "photos"), archive / name, spec)
    assert np.array_equal(store.load()[0], expected["cut_features" if name == "cut" else "features"])
    assert store.manifest.shards == old.manifest.shards


def test_images_in_an_old_store_are_predicted_from_it(archive, expected):
    paths = [archive / "photos" / id for id in expected["ids"][:3]]
    predictions = list(predict_images(archive / "store", paths, "logistic"))
    labels = expected["logistic"][:3].argmax(axis=1)
    assert [prediction.label for prediction in predictions] == [("cats", "dogs")[label] for label in labels]


def test_an_old_exported_model_gives_the_same_outputs(archive, expected):
    import keras

    batch = np.stack([np.asarray(Image.open(archive / "photos" / id), np.float32) for id in expected["ids"]])
    model = keras.models.load_model(archive / "exported.keras")
    assert model.predict(batch, verbose=0) == pytest.approx(expected["exported"], abs=1e-5)
