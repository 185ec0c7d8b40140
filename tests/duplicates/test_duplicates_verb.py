"""The command `duplicates`: its list, its files, and what other commands show."""

import csv
import io
import json

import pytest

from pipeline import extract_features, find_duplicates, open_features, scan_images
from pipeline.cli.main import main
from tests.duplicates.pictures import SPEC, copy_file, store_of


@pytest.fixture
def cache(folder, copies, fake_conv_base):
    copy_file(folder, "train/cats/06.png", "train/dogs/six.png")
    return store_of(folder).directory


def test_pairs_are_listed_and_the_exit_status_is_1(cache, capsys):
    assert main(["duplicates", str(cache)]) == 1
    out = capsys.readouterr().out
    assert "train | validation" in out
    assert "train/cats/06.png  train/dogs/six.png" in out
    assert "1 exact pair, " in out and "1 under two labels" not in out


def test_with_duplicates_of_one_split_and_label_the_exit_status_is_0(folder, fake_conv_base, capsys):
    copy_file(folder, "train/cats/06.png", "train/cats/six.png")
    assert main(["duplicates", str(store_of(folder).directory)]) == 0
    assert "1 exact pair, 0 near, 0 across splits, 0 under two labels" in capsys.readouterr().out


def test_the_groups_file_brings_each_group_into_one_split(cache, folder, fake_conv_base, tmp_path):
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
        id.removeprefix("../photos/"): split for id, split in zip(after.images.ids, after.images.splits, strict=True)
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
def test_the_message_names_what_the_groups_file_computes(cache, folder, fake_conv_base, capsys, views, words):
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


def test_groups_of_the_user_stay_together_with_their_duplicates(folder, fake_conv_base, tmp_path):
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


def test_the_groups_file_can_lie_in_a_linked_folder(cache, tmp_path):
    (tmp_path / "deep" / "er" / "real").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er" / "real")
    main(["duplicates", str(cache), "--groups", str(tmp_path / "link" / "groups.csv")])
    assert len(scan_images(tmp_path / "link" / "groups.csv")) == len(open_features(cache).images)


def test_odd_names_survive_both_csv_files(folder, fake_conv_base, tmp_path):
    odd = 'a "quoted", name\nof two lines\udcff.png'
    copy_file(folder, "train/cats/00.png", f"validation/cats/{odd}")
    cache = store_of(folder).directory
    pairs, groups = tmp_path / "pairs.csv", tmp_path / "groups.csv"
    assert main(["duplicates", str(cache), "--csv", str(pairs), "--groups", str(groups)]) == 1
    (row,) = csv.DictReader(io.StringIO(pairs.read_text("utf-8", "surrogateescape"), newline=""))
    assert row["other_id"] == f"validation/cats/{odd}"
    assert (row["kind"], row["across_splits"], row["two_labels"]) == ("exact", "1", "0")
    assert f"photos/validation/cats/{odd}" in scan_images(groups).ids


def test_the_csv_file_has_every_pair_with_its_numbers(cache, tmp_path):
    main(["duplicates", str(cache), "--csv", str(tmp_path / "pairs.csv")])
    with open(tmp_path / "pairs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = find_duplicates(open_features(cache)).pairs
    assert [(row["id"], row["other_id"]) for row in rows] == [pair.ids for pair in pairs]
    assert [float(row["similarity"]) for row in rows] == pytest.approx([pair.similarity for pair in pairs], abs=1e-4)


def test_a_file_that_cannot_be_written_is_refused_before_the_search(cache, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.duplicates.find_duplicates", lambda *args, **kwargs: pytest.fail("searched"))
    assert main(["duplicates", str(cache), "--groups", "nowhere/groups.csv"]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err
    assert main(["duplicates", str(cache), "--csv", "a.csv", "--groups", "./a.csv"]) == 2
    assert "--csv and --groups are both a.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--csv", "path,label\na.png,cats\n", "is no list of pairs"),
        ("--groups", "path,label,split,group\na.png,cats,,\n", "exists already"),
    ],
)
def test_a_file_of_the_user_is_not_overwritten(cache, tmp_path, capsys, option, text, words):
    file = tmp_path / "mine.csv"
    file.write_text(text)
    assert main(["duplicates", str(cache), option, str(file)]) == 2
    assert words in capsys.readouterr().err and file.read_text() == text


def test_a_list_of_pairs_is_replaced(cache, tmp_path):
    for _ in range(2):
        assert main(["duplicates", str(cache), "--csv", str(tmp_path / "pairs.csv")]) == 1


def test_info_shows_exact_duplicates_and_after_a_search_all(cache, capsys):
    def shown():
        assert main(["info", str(cache), "--json"]) == 0
        return json.loads(capsys.readouterr().out)["duplicates"]

    assert shown() == {"pairs": 1, "exact": 1, "near": None, "across_splits": 0, "two_labels": 1}
    main(["duplicates", str(cache)])
    capsys.readouterr()
    assert shown()["near"] == len(find_duplicates(open_features(cache)).pairs) - 1
    assert main(["info", str(cache)]) == 0
    assert "across splits" in capsys.readouterr().out


def test_the_leaderboard_warns_of_known_leaks(cache, capsys):
    train = ["heads", str(cache), "--heads", "ridge"]
    assert main(train) == 0
    assert "duplicates across splits" not in capsys.readouterr().err
    main(["duplicates", str(cache)])
    capsys.readouterr()
    assert main(train) == 0
    assert "duplicates across splits, such as train/cats/00.png" in capsys.readouterr().err


def test_the_leaderboard_warns_of_equal_files_without_a_search(folder, fake_conv_base, capsys):
    copy_file(folder, "train/cats/00.png", "validation/cats/zero.png")
    assert main(["heads", str(store_of(folder).directory), "--heads", "ridge"]) == 0
    assert "1 pair of duplicates across splits" in capsys.readouterr().err


def test_a_read_only_store_is_searched_without_saving_the_result(cache, capsys, monkeypatch):
    def fail(path, document):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pipeline.duplicates.saved_result.write_json", fail)
    assert main(["duplicates", str(cache)]) == 1
    captured = capsys.readouterr()
    assert "1 exact pair" in captured.out
    assert "not stored for `info` and `heads`" in captured.err


def test_intervals_and_the_spread_over_seeds_are_on_the_leaderboard(cache, capsys):
    arguments = ["heads", str(cache), "--heads", "ridge,forest", "--repeats", "2", "--set", "forest.n_estimators=3"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "over seeds" in out and "±" in out and "no spread" in out
    main(["info", str(cache), "--json"])
    for head in json.loads(capsys.readouterr().out)["heads"]:
        low, high = head["accuracy_interval"]
        assert low <= head["accuracy"] <= high
        assert f"{head['accuracy']:.4f} [{low:.3f}, {high:.3f}]" in out
