"""The result of a search is saved in the store, and used until images or features change."""

import logging

import pytest

from pipeline import ConvBaseSpec, extract_features, find_duplicates, open_features, scan_images
from pipeline.duplicates import load_duplicates, save_duplicates
from pipeline.files.durable import read_json, write_json
from tests.duplicates.pictures import store_of


@pytest.fixture
def store(folder, copies, fake_conv_base):
    return store_of(folder)


def test_a_saved_result_is_loaded(store):
    found = find_duplicates(store)
    save_duplicates(store, found)
    assert found.pairs
    assert load_duplicates(open_features(store.directory)) == found


def test_before_a_search_there_is_no_result(store):
    assert load_duplicates(store) is None


def test_a_result_is_not_used_after_an_image_was_relabelled(store, folder):
    save_duplicates(store, find_duplicates(store))
    (folder / "train" / "cats" / "00.png").rename(folder / "train" / "dogs" / "00.png")
    assert load_duplicates(store_of(folder)) is None


def test_a_result_is_not_used_with_other_features(store, folder):
    save_duplicates(store, find_duplicates(store))
    extract_features(scan_images(folder), store.directory, ConvBaseSpec(size=16), rebuild=True)
    assert load_duplicates(open_features(store.directory)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"ids": ["../../secret.png", "train/cats/00.png"]},
        {"ids": ["train/cats/00.png"]},
        {"ids": [["train/cats/00.png"], "train/cats/06.png"]},
        {"kind": "<script>"},
        {"similarity": "high"},
        {"similarity": 10**400},
        {"pixels": [1]},
    ],
    ids=str,
)
def test_a_result_with_wrong_values_is_not_used(store, caplog, wrong):
    path = save_duplicates(store, find_duplicates(store))
    document = read_json(path)
    document["pairs"][0] |= wrong
    write_json(path, document)
    with caplog.at_level(logging.WARNING):
        assert load_duplicates(store) is None
    assert "run `duplicates` again" in caplog.text


def test_a_damaged_result_is_not_used(store):
    path = save_duplicates(store, find_duplicates(store))
    path.write_bytes(path.read_bytes().replace(b"near", b"dear", 1))
    assert load_duplicates(store) is None
