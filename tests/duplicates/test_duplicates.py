"""Duplicates: found by content, features and pixels, saved, and brought into one split."""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from pipeline import ConvBaseSpec, extract_features, find_duplicates, open_features, scan_images
from pipeline.cli.main import main
from pipeline.duplicates import Duplicates, Pair, exact_duplicates, load_duplicates, save_duplicates, similar_features
from pipeline.duplicates.similar_features import similar_rows
from pipeline.extraction.decode_ahead import list_tasks
from pipeline.files.durable import read_json, write_json
from tests.fakes import Recorder, photo

SPEC = ConvBaseSpec(size=32)


def scene(seed, size=(60, 48)):
    """Return a picture with large shapes, as photos have them."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 230, (6, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return coarse.filter(ImageFilter.GaussianBlur(1))


def put(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Write thirty pictures into split folders."""
    root = tmp_path / "photos"
    for seed in range(30):
        label, split = ("cats", "dogs")[seed % 2], ("train", "train", "validation")[seed % 3]
        put(root / split / label / f"{seed:02d}.png", scene(seed))
    return root


@pytest.fixture
def copies(folder):
    """Write near copies of one picture; return the id of the original by the id of each copy."""
    original = scene(0)
    small = original.resize((48, 38), Image.Resampling.LANCZOS)
    bright = ImageEnhance.Brightness(original).enhance(1.05)
    made = {"again": original, "bright": bright, "mirrored": ImageOps.mirror(original), "small": small}
    for name, image in made.items():
        put(folder / "validation" / "dogs" / f"{name}.jpg", image, quality=90)
    return {f"validation/dogs/{name}.jpg": "train/cats/00.png" for name in made}


def store_of(folder, cache=None):
    cache = cache or folder.parent / "cache"
    extract_features(scan_images(folder), cache, SPEC)
    return open_features(cache)


def copy_file(folder, source, target):
    (folder / target).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / source, folder / target)


class TestExact:
    def test_equal_files_are_found_in_any_folder(self, folder):
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

    def test_many_equal_files_make_a_pair_each_and_one_group(self, folder):
        names = [f"validation/dogs/copy{n}.png" for n in range(5)]
        for name in names:
            copy_file(folder, "train/cats/00.png", name)
        found = exact_duplicates(scan_images(folder))
        assert len(found.pairs) == 5
        assert found.groups() == [["train/cats/00.png", *names]]

    def test_files_that_cannot_be_read_are_no_duplicates(self, folder):
        images = scan_images(folder)
        unread = np.arange(len(images)) < 2
        contents = np.where(unread[:, None], 0, images.contents)
        images = replace(images, readable=~unread, contents=contents.astype(np.uint8))
        assert exact_duplicates(images).pairs == ()

    def test_without_duplicates_there_are_no_groups(self, folder):
        assert exact_duplicates(scan_images(folder)).groups() == []


class TestNear:
    def test_only_pictures_saved_differently_are_found(self, folder, copies, fake_conv_base):
        found = find_duplicates(store_of(folder))
        assert {copy for pair in found.pairs for copy in pair.ids} == {*copies, *copies.values()}
        assert found.groups() == [sorted({*copies, *copies.values()})]
        assert {pair.kind for pair in found.pairs} == {"near"}
        assert all(pair.pixels > 0.9 for pair in found.pairs)

    def test_pairs_across_splits_and_with_two_labels_come_first(self, folder, copies, fake_conv_base):
        copy_file(folder, "train/cats/06.png", "train/cats/six.png")
        pairs = find_duplicates(store_of(folder)).pairs
        severity = [(pair.across_splits, pair.two_labels) for pair in pairs]
        assert severity == sorted(severity, reverse=True)
        harmless = [pair for pair in pairs if not (pair.across_splits or pair.two_labels)]
        assert [pair.similarity for pair in harmless] == sorted((pair.similarity for pair in harmless), reverse=True)
        assert harmless[0].kind == "exact"

    @pytest.mark.parametrize("block", [3, 2048])
    def test_no_duplicate_is_lost_among_many_similar_rows(self, folder, copies, fake_conv_base, block, monkeypatch):
        """All features are similar; the pictures are compared before the number of pairs is limited."""
        monkeypatch.setattr(similar_features, "BLOCK_ROWS", block)
        monkeypatch.setattr(similar_features, "MAX_PAIRS", 1)
        found = find_duplicates(store_of(folder), threshold=-1.0)
        assert found.groups() == [sorted({*copies, *copies.values()})]
        assert len(found.pairs) <= 2 * len(copies)

    def test_each_picture_is_read_once(self, folder, copies, fake_conv_base, monkeypatch):
        monkeypatch.setattr(similar_features, "BLOCK_ROWS", 5)
        store, read = store_of(folder), []

        def counted(index, pending):
            read.extend(pending[:, 0].tolist())
            return list_tasks(index, pending)

        monkeypatch.setattr("pipeline.duplicates.similar_pixels.list_tasks", counted)
        find_duplicates(store, threshold=-1.0)
        assert sorted(read) == list(range(len(store.index.contents)))

    def test_similar_features_of_different_pictures_are_no_duplicates(self, folder, fake_conv_base):
        shuffled = np.random.default_rng(0).permutation(np.asarray(scene(0)).reshape(-1, 3)).reshape(48, 60, 3)
        put(folder / "train" / "dogs" / "shuffled.png", Image.fromarray(shuffled))
        store = store_of(folder)
        rows = store.index.rows[[store.images.ids.index(id) for id in ("train/cats/00.png", "train/dogs/shuffled.png")]]
        row_of = store.index.rows[store.members()]
        similar = {tuple(sorted(row_of[pair].tolist())) for pair in similar_rows(store.on_demand()[0], 0.7).rows}
        assert tuple(sorted(rows.tolist())) in similar  # by features alone they would be a pair
        assert find_duplicates(store).pairs == ()

    def test_missing_pictures_are_compared_by_features_alone(self, folder, fake_conv_base):
        put(folder / "validation" / "dogs" / "mirrored.png", ImageOps.mirror(scene(0)))
        store = store_of(folder)
        shutil.rmtree(folder)
        (pair,) = (pair for pair in find_duplicates(store).pairs if "validation/dogs/mirrored.png" in pair.ids)
        assert (pair.pixels, pair.similarity) == (None, pytest.approx(1, abs=1e-3))
        assert all(pair.similarity >= 0.95 for pair in find_duplicates(store).pairs)

    def test_the_pixels_of_a_changed_file_are_not_compared(self, folder, copies, fake_conv_base):
        store = store_of(folder)
        for copy in copies:
            put(folder / copy, scene(99))
        assert all(pair.pixels is None for pair in find_duplicates(store).pairs)

    def test_pictures_with_one_grey_value_are_no_duplicates(self, folder, fake_conv_base):
        for grey in (100, 101, 102):
            put(folder / "train" / "dogs" / f"grey{grey}.png", Image.new("RGB", (40, 40), (grey,) * 3))
        assert find_duplicates(store_of(folder)).pairs == ()

    def test_a_store_without_features_is_no_error(self, tmp_path, fake_conv_base):
        for name in ("a", "b"):
            for number in range(2):
                path = tmp_path / "bad" / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"no image {name} {number}".encode())
        found = find_duplicates(store_of(tmp_path / "bad"))
        assert (found.pairs, found.rows, found.near) == ((), 0, True)

    def test_progress_is_reported_from_zero_to_the_total(self, folder, copies, fake_conv_base):
        calls = []
        find_duplicates(store_of(folder), callbacks=Recorder(calls))
        assert {call[0] for call in calls} == {"reading", "comparing"}
        for step in ("reading", "comparing"):
            counts = [(done, total) for name, done, total, _ in calls if name == step]
            assert counts[0][0] == 0 and counts[-1][0] == counts[-1][1]


class CountedRows:
    """Rows that count how many of them are read."""

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.read = X, X.shape, X.dtype, 0

    def __len__(self):
        return len(self.X)

    def __getitem__(self, rows):
        self.read += len(self.X[rows])
        return self.X[rows]


class TestSimilarRows:
    @pytest.fixture
    def X(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(50, 2, 2, 6)).astype(np.float16)
        X[40:] = X[:10] + rng.normal(size=(10, 2, 2, 6)) * np.linspace(0, 1.5, 10)[:, None, None, None]
        return X

    @pytest.mark.parametrize("block", [1, 7, 50, 1000])
    def test_the_size_of_blocks_does_not_change_the_pairs(self, X, block, monkeypatch):
        monkeypatch.setattr(similar_features, "BLOCK_ROWS", block)
        monkeypatch.setattr(similar_features, "MAX_PAIRS", 50)
        pooled = X.astype(np.float64).mean(axis=(1, 2))
        rows = (pooled - pooled.mean(axis=0)) / pooled.std(axis=0)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = np.triu(rows @ rows.T, 1)
        found = similar_rows(X, 0.5)
        assert 10 < len(found.rows) < 600
        assert sorted(map(tuple, found.rows.tolist())) == list(zip(*np.nonzero(cosines >= 0.5), strict=True))
        np.testing.assert_allclose(found.similarity, cosines[tuple(found.rows.T)], atol=1e-3)

    def test_each_row_is_read_once(self, X, monkeypatch):
        monkeypatch.setattr(similar_features, "BLOCK_ROWS", 8)
        rows = CountedRows(X)
        similar_rows(rows, 0.5)
        assert rows.read == len(X)

    def test_many_similar_rows_make_few_pairs_and_stay_connected(self, monkeypatch):
        monkeypatch.setattr(similar_features, "BLOCK_ROWS", 16)
        X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
        X[:40] = X[0]
        pairs = similar_rows(X, 0.99).rows
        assert len(pairs) <= 40 * similar_features.MAX_PAIRS
        ids = [(str(first), str(second)) for first, second in pairs.tolist()]
        found = Duplicates(tuple(Pair(pair, ("train",) * 2, ("a",) * 2, "near", 1, 1) for pair in ids), 60)
        assert [len(group) for group in found.groups()] == [40]

    @pytest.mark.parametrize("block", [4, 100])
    def test_connected_rows_stay_connected_when_pairs_are_left_out(self, block, monkeypatch):
        """The first row is similar to all others, which are not similar to one another."""
        monkeypatch.setattr(similar_features, "BLOCK_ROWS", block)
        monkeypatch.setattr(similar_features, "MAX_PAIRS", 1)
        X = np.eye(12, dtype=np.float32) - 1 / 12
        X[0] = 0.0
        shown = similar_rows(X, -1.0, lambda pairs: pairs.take(pairs.rows[:, 0] == 0))
        assert sorted(shown.rows[:, 1].tolist()) == list(range(1, 12))

    def test_the_most_similar_of_many_pairs_are_listed(self, monkeypatch):
        monkeypatch.setattr(similar_features, "MAX_PAIRS", 2)
        monkeypatch.setattr(similar_features, "BLOCK_ROWS", 4)
        angles = np.array([0, 0.5, 0.4, 0.3, 0.2, 0.1, *np.linspace(2, 5.5, 6)])
        X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        of_first = [pair for pair in similar_rows(X, 0.8).rows.tolist() if pair[0] == 0]
        assert of_first[::-1] == [[0, 5], [0, 4]]


class TestSaved:
    @pytest.fixture
    def store(self, folder, copies, fake_conv_base):
        return store_of(folder)

    def test_a_saved_result_is_loaded(self, store):
        found = find_duplicates(store)
        save_duplicates(store, found)
        assert found.pairs
        assert load_duplicates(open_features(store.directory)) == found

    def test_before_a_search_there_is_no_result(self, store):
        assert load_duplicates(store) is None

    def test_a_result_is_not_used_after_an_image_was_relabelled(self, store, folder):
        save_duplicates(store, find_duplicates(store))
        (folder / "train" / "cats" / "00.png").rename(folder / "train" / "dogs" / "00.png")
        assert load_duplicates(store_of(folder)) is None

    def test_a_result_is_not_used_with_other_features(self, store, folder):
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
    def test_a_result_with_wrong_values_is_not_used(self, store, caplog, wrong):
        path = save_duplicates(store, find_duplicates(store))
        document = read_json(path)
        document["pairs"][0] |= wrong
        write_json(path, document)
        with caplog.at_level(logging.WARNING):
            assert load_duplicates(store) is None
        assert "run `duplicates` again" in caplog.text

    def test_a_damaged_result_is_not_used(self, store):
        path = save_duplicates(store, find_duplicates(store))
        path.write_bytes(path.read_bytes().replace(b"near", b"dear", 1))
        assert load_duplicates(store) is None


class TestVerb:
    @pytest.fixture
    def cache(self, folder, copies, fake_conv_base):
        copy_file(folder, "train/cats/06.png", "train/dogs/six.png")
        return store_of(folder).directory

    def test_pairs_are_listed_and_the_exit_status_is_1(self, cache, capsys):
        assert main(["duplicates", str(cache)]) == 1
        out = capsys.readouterr().out
        assert "train | validation" in out
        assert "train/cats/06.png  train/dogs/six.png" in out
        assert "1 exact pair, " in out and "1 under two labels" not in out

    def test_with_duplicates_of_one_split_and_label_the_exit_status_is_0(self, folder, fake_conv_base, capsys):
        copy_file(folder, "train/cats/06.png", "train/cats/six.png")
        assert main(["duplicates", str(store_of(folder).directory)]) == 0
        assert "1 exact pair, 0 near, 0 across splits, 0 under two labels" in capsys.readouterr().out

    def test_the_groups_file_brings_each_group_into_one_split(self, cache, folder, fake_conv_base, tmp_path):
        before = open_features(cache)
        splits = dict(zip(before.images.ids, before.images.splits.tolist(), strict=True))
        file = tmp_path / "lists" / "groups.csv"
        file.parent.mkdir()
        assert main(["duplicates", str(cache), "--groups", str(file)]) == 1
        groups = find_duplicates(before).groups()
        seen = fake_conv_base.seen

        assert main(["features", str(file), "--cache", str(cache), "--size", "32"]) == 0
        after = open_features(cache)
        assert fake_conv_base.seen == seen
        assert len(after.members()) == len(before.members())
        now = {
            id.removeprefix("../photos/"): split
            for id, split in zip(after.images.ids, after.images.splits, strict=True)
        }
        assert len(groups) == 2
        for group in groups:
            assert len({now[id] for id in group}) == 1
        alone = set(splits) - {id for group in groups for id in group}
        assert {id: now[id] for id in alone} == {id: splits[id] for id in alone}
        assert [after.classes[label] for label in after.images.labels] == [
            before.classes[label] for label in before.images.labels
        ]
        assert not find_duplicates(after).across_splits

    @pytest.mark.parametrize(
        ("views", "words"), [(1, "nothing"), (2, "only augmented copies of images that are new in train")]
    )
    def test_the_message_names_what_the_groups_file_computes(self, cache, folder, fake_conv_base, capsys, views, words):
        extract_features(scan_images(folder), cache, SPEC, views=views)
        (folder / "train" / "cats" / "00.png").rename(folder / "validation" / "cats" / "00.png")
        copy_file(folder, "validation/cats/00.png", "train/cats/equal.png")
        extract_features(scan_images(folder), cache, SPEC)
        groups, seen = folder.parent / "groups.csv", fake_conv_base.seen
        main(["duplicates", str(cache), "--groups", str(groups)])
        assert f"the store's own options, which computes {words}\n" in capsys.readouterr().out
        assert main(["features", str(groups), "--cache", str(cache), "--size", "32"]) == 0
        out = capsys.readouterr().out
        if passes := fake_conv_base.seen - seen:
            assert f"{passes} forward passes to make" in out and f"{passes} forward passes made" in out
        else:
            assert "forward pass" not in out and "nothing to compute" in out
        assert views > 1 or not passes

    def test_groups_of_the_user_stay_together_with_their_duplicates(self, folder, fake_conv_base, tmp_path):
        """Patients 0 and 1 share a picture, so they become one group; patient 2 has no duplicate."""
        copy_file(folder, "train/cats/00.png", "train/cats/copy.png")
        patient = {0: [0, 6], 1: [12, 18], 2: [24, 28]}
        given = [
            (f"photos/train/cats/{n:02d}.png", "cats", ("train", "validation", "train")[who], f"patient {who}")
            for who, photos in patient.items()
            for n in photos
        ]
        given.append(("photos/train/cats/copy.png", "cats", "validation", "patient 1"))
        given += [(f"photos/train/dogs/{n:02d}.png", "dogs", "train", "") for n in (1, 3, 7)]
        with open(tmp_path / "list.csv", "w", newline="") as file:
            csv.writer(file).writerows([("path", "label", "split", "group"), *given])
        cache = store_of(tmp_path / "list.csv").directory
        assert main(["duplicates", str(cache), "--groups", str(tmp_path / "groups.csv")]) == 1
        with open(tmp_path / "groups.csv", newline="") as file:
            rows = {row["path"].removeprefix("./"): row for row in csv.DictReader(file)}
        of_group = {}
        for path, _, _, group in given:
            of_group.setdefault(group, set()).add((rows[path]["group"], rows[path]["split"]))
        assert of_group["patient 0"] == of_group["patient 1"] and len(of_group["patient 0"]) == 1
        ((group, split),) = of_group["patient 2"]
        assert group and split == "train" and (group, split) not in of_group["patient 0"]
        assert of_group[""] == {("", "train")}
        table = scan_images(tmp_path / "groups.csv")
        assert len(set(table.groups.tolist())) == 3

    def test_the_groups_file_can_lie_in_a_linked_folder(self, cache, tmp_path):
        (tmp_path / "deep" / "er" / "real").mkdir(parents=True)
        (tmp_path / "link").symlink_to(tmp_path / "deep" / "er" / "real")
        main(["duplicates", str(cache), "--groups", str(tmp_path / "link" / "groups.csv")])
        assert len(scan_images(tmp_path / "link" / "groups.csv")) == len(open_features(cache).images)

    def test_odd_names_survive_both_csv_files(self, folder, fake_conv_base, tmp_path):
        odd = 'a "quoted", name\nof two lines\udcff.png'
        copy_file(folder, "train/cats/00.png", f"validation/cats/{odd}")
        cache = store_of(folder).directory
        pairs, groups = tmp_path / "pairs.csv", tmp_path / "groups.csv"
        assert main(["duplicates", str(cache), "--csv", str(pairs), "--groups", str(groups)]) == 1
        (row,) = csv.DictReader(io.StringIO(pairs.read_text("utf-8", "surrogateescape"), newline=""))
        assert row["other_id"] == f"validation/cats/{odd}"
        assert (row["kind"], row["across_splits"], row["two_labels"]) == ("exact", "1", "0")
        assert f"photos/validation/cats/{odd}" in scan_images(groups).ids

    def test_the_csv_file_has_every_pair_with_its_numbers(self, cache, tmp_path):
        main(["duplicates", str(cache), "--csv", str(tmp_path / "pairs.csv")])
        with open(tmp_path / "pairs.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        pairs = find_duplicates(open_features(cache)).pairs
        assert [(row["id"], row["other_id"]) for row in rows] == [pair.ids for pair in pairs]
        assert [float(row["similarity"]) for row in rows] == pytest.approx(
            [pair.similarity for pair in pairs], abs=1e-4
        )

    def test_a_file_that_cannot_be_written_is_refused_before_the_search(self, cache, capsys, monkeypatch):
        monkeypatch.setattr("pipeline.duplicates.find_duplicates", lambda *args, **kwargs: pytest.fail("searched"))
        assert main(["duplicates", str(cache), "--groups", "nowhere/groups.csv"]) == 2
        assert "there is no folder nowhere" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("option", "text", "words"),
        [
            ("--csv", "path,label\na.png,cats\n", "is no list of pairs"),
            ("--groups", "path,label,split,group\na.png,cats,,\n", "exists already"),
        ],
    )
    def test_a_file_of_the_user_is_not_overwritten(self, cache, tmp_path, capsys, option, text, words):
        file = tmp_path / "mine.csv"
        file.write_text(text)
        assert main(["duplicates", str(cache), option, str(file)]) == 2
        assert words in capsys.readouterr().err and file.read_text() == text

    def test_a_list_of_pairs_is_replaced(self, cache, tmp_path):
        for _ in range(2):
            assert main(["duplicates", str(cache), "--csv", str(tmp_path / "pairs.csv")]) == 1

    def test_info_shows_exact_duplicates_and_after_a_search_all(self, cache, capsys):
        def shown():
            assert main(["info", str(cache), "--json"]) == 0
            return json.loads(capsys.readouterr().out)["duplicates"]

        assert shown() == {"pairs": 1, "exact": 1, "near": None, "across_splits": 0, "two_labels": 1}
        main(["duplicates", str(cache)])
        capsys.readouterr()
        assert shown()["near"] == len(find_duplicates(open_features(cache)).pairs) - 1
        assert main(["info", str(cache)]) == 0
        assert "across splits" in capsys.readouterr().out

    def test_the_leaderboard_warns_of_known_leaks(self, cache, capsys):
        train = ["heads", str(cache), "--heads", "ridge"]
        assert main(train) == 0
        assert "duplicates across splits" not in capsys.readouterr().err
        main(["duplicates", str(cache)])
        capsys.readouterr()
        assert main(train) == 0
        assert "duplicates across splits, such as train/cats/00.png" in capsys.readouterr().err

    def test_the_leaderboard_warns_of_equal_files_without_a_search(self, folder, fake_conv_base, capsys):
        copy_file(folder, "train/cats/00.png", "validation/cats/zero.png")
        assert main(["heads", str(store_of(folder).directory), "--heads", "ridge"]) == 0
        assert "1 pair of duplicates across splits" in capsys.readouterr().err

    def test_a_read_only_store_is_searched_without_saving_the_result(self, cache, capsys, monkeypatch):
        def fail(path, document):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("pipeline.duplicates.saved_result.write_json", fail)
        assert main(["duplicates", str(cache)]) == 1
        captured = capsys.readouterr()
        assert "1 exact pair" in captured.out
        assert "not stored for `info` and `heads`" in captured.err

    def test_intervals_and_the_spread_over_seeds_are_on_the_leaderboard(self, cache, capsys):
        arguments = ["heads", str(cache), "--heads", "ridge,forest", "--repeats", "2", "--set", "forest.n_estimators=3"]
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert "over seeds" in out and "±" in out and "no spread" in out
        main(["info", str(cache), "--json"])
        for head in json.loads(capsys.readouterr().out)["heads"]:
            low, high = head["accuracy_interval"]
            assert low <= head["accuracy"] <= high
            assert f"{head['accuracy']:.4f} [{low:.3f}, {high:.3f}]" in out


def test_different_noise_is_no_duplicate(tmp_path, fake_conv_base):
    for seed in range(8):
        path = tmp_path / "noise" / "ab"[seed % 2] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(seed))
    assert find_duplicates(store_of(tmp_path / "noise")).pairs == ()
