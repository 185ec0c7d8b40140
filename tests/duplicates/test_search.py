"""Duplicates are found by content, by features and by pixels."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline import find_duplicates, scan_images
from pipeline.duplicates import exact_duplicates, similar_features
from pipeline.duplicates.similar_features import similar_rows
from pipeline.extraction.decode_ahead import list_tasks
from tests.duplicates.pictures import copy_file, put, scene, store_of
from tests.fakes import Recorder, photo


def test_equal_files_are_found_in_any_folder(folder):
    copy_file(folder, "train/cats/00.png", "validation/cats/zero.png")
    copy_file(folder, "train/cats/06.png", "train/dogs/six.png")
    copy_file(folder, "train/cats/12.png", "train/cats/twelve.png")
    found = exact_duplicates(scan_images(folder))
    assert [pair.ids for pair in found.pairs] == [
        ("train/cats/00.png", "validation/cats/zero.png"),
        ("train/cats/06.png", "train/dogs/six.png"),
        ("train/cats/12.png", "train/cats/twelve.png"),
    ]
    assert [(pair.across_splits, pair.two_labels) for pair in found.pairs] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert found.pairs[0].splits == ("train", "validation")
    assert found.pairs[1].labels == ("cats", "dogs")
    assert found.counts() == {"pairs": 3, "exact": 3, "near": None, "across_splits": 1, "two_labels": 1}


def test_many_equal_files_make_a_pair_each_and_one_group(folder):
    names = [f"validation/dogs/copy{n}.png" for n in range(5)]
    for name in names:
        copy_file(folder, "train/cats/00.png", name)
    found = exact_duplicates(scan_images(folder))
    assert len(found.pairs) == 5
    assert found.groups() == [["train/cats/00.png", *names]]


def test_files_that_cannot_be_read_are_no_duplicates(folder):
    images = scan_images(folder)
    unread = np.arange(len(images)) < 2
    contents = np.where(unread[:, None], 0, images.contents)
    images = replace(images, readable=~unread, contents=contents.astype(np.uint8))
    assert exact_duplicates(images).pairs == ()


def test_without_duplicates_there_are_no_groups(folder):
    assert exact_duplicates(scan_images(folder)).groups() == []


def test_only_pictures_saved_differently_are_found(folder, copies, fake_conv_base):
    found = find_duplicates(store_of(folder))
    assert {copy for pair in found.pairs for copy in pair.ids} == {*copies, *copies.values()}
    assert found.groups() == [sorted({*copies, *copies.values()})]
    assert {pair.kind for pair in found.pairs} == {"near"}
    assert all(pair.pixels > 0.9 for pair in found.pairs)


def test_pairs_across_splits_and_with_two_labels_come_first(folder, copies, fake_conv_base):
    copy_file(folder, "train/cats/06.png", "train/cats/six.png")
    pairs = find_duplicates(store_of(folder)).pairs
    severity = [(pair.across_splits, pair.two_labels) for pair in pairs]
    assert severity == sorted(severity, reverse=True)
    harmless = [pair for pair in pairs if not (pair.across_splits or pair.two_labels)]
    assert [pair.similarity for pair in harmless] == sorted((pair.similarity for pair in harmless), reverse=True)
    assert harmless[0].kind == "exact"


@pytest.mark.parametrize("block", [3, 2048])
def test_no_duplicate_is_lost_among_many_similar_rows(folder, copies, fake_conv_base, block, monkeypatch):
    """All features are similar; the pictures are compared before the number of pairs is limited."""
    monkeypatch.setattr(similar_features, "BLOCK_ROWS", block)
    monkeypatch.setattr(similar_features, "MAX_PAIRS", 1)
    found = find_duplicates(store_of(folder), threshold=-1.0)
    assert found.groups() == [sorted({*copies, *copies.values()})]
    assert len(found.pairs) <= 2 * len(copies)


def test_each_picture_is_read_once(folder, copies, fake_conv_base, monkeypatch):
    monkeypatch.setattr(similar_features, "BLOCK_ROWS", 5)
    store, read = store_of(folder), []

    def counted(index, pending):
        read.extend(pending[:, 0].tolist())
        return list_tasks(index, pending)

    monkeypatch.setattr("pipeline.duplicates.same_picture.list_tasks", counted)
    find_duplicates(store, threshold=-1.0)
    assert sorted(read) == list(range(len(store.index.contents)))


def test_similar_features_of_different_pictures_are_no_duplicates(folder, fake_conv_base):
    shuffled = np.random.default_rng(0).permutation(np.asarray(scene(0)).reshape(-1, 3)).reshape(48, 60, 3)
    put(folder / "train" / "dogs" / "shuffled.png", Image.fromarray(shuffled))
    store = store_of(folder)
    rows = store.index.rows[[store.images.ids.index(id) for id in ("train/cats/00.png", "train/dogs/shuffled.png")]]
    row_of = store.index.rows[store.members()]
    similar = {tuple(sorted(row_of[pair].tolist())) for pair in similar_rows(store.on_demand()[0], 0.7).rows}
    assert tuple(sorted(rows.tolist())) in similar  # by features alone they would be a pair
    assert find_duplicates(store).pairs == ()


def test_missing_pictures_are_compared_by_features_alone(folder, fake_conv_base):
    put(folder / "validation" / "dogs" / "mirrored.png", ImageOps.mirror(scene(0)))
    store = store_of(folder)
    shutil.rmtree(folder)
    (pair,) = (pair for pair in find_duplicates(store).pairs if "validation/dogs/mirrored.png" in pair.ids)
    assert (pair.pixels, pair.similarity) == (None, pytest.approx(1, abs=1e-3))
    assert all(pair.similarity >= 0.95 for pair in find_duplicates(store).pairs)


def test_the_pixels_of_a_changed_file_are_not_compared(folder, copies, fake_conv_base):
    store = store_of(folder)
    for copy in copies:
        put(folder / copy, scene(99))
    assert all(pair.pixels is None for pair in find_duplicates(store).pairs)


def test_pictures_with_one_grey_value_are_no_duplicates(folder, fake_conv_base):
    for grey in (100, 101, 102):
        put(folder / "train" / "dogs" / f"grey{grey}.png", Image.new("RGB", (40, 40), (grey,) * 3))
    assert find_duplicates(store_of(folder)).pairs == ()


def test_a_store_without_features_is_no_error(tmp_path, fake_conv_base):
    for name in ("a", "b"):
        for number in range(2):
            path = tmp_path / "bad" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"no image {name} {number}".encode())
    found = find_duplicates(store_of(tmp_path / "bad"))
    assert (found.pairs, found.rows, found.near) == ((), 0, True)


def test_progress_is_reported_from_zero_to_the_total(folder, copies, fake_conv_base):
    calls = []
    find_duplicates(store_of(folder), callbacks=Recorder(calls))
    assert {call[0] for call in calls} == {"reading", "standardising", "comparing"}
    for step in ("reading", "standardising", "comparing"):
        counts = [(done, total) for name, done, total, _ in calls if name == step]
        assert counts[0][0] == 0 and counts[-1][0] == counts[-1][1]


def test_different_noise_is_no_duplicate(tmp_path, fake_conv_base):
    for seed in range(8):
        path = tmp_path / "noise" / "ab"[seed % 2] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(seed))
    assert find_duplicates(store_of(tmp_path / "noise")).pairs == ()
