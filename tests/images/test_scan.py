"""The images of a data set, their labels and their splits."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline import ImagesError, scan_images
from pipeline.images.labels import NUMBERED_NAME
from pipeline.images.splits import assign_splits
from pipeline.images.table import COLUMNS, NO_GROUP
from tests.fakes import photo, photo_folder


def split_of(table, id):
    return table.splits[list(table.ids).index(id)]


def test_class_folders_are_labelled_by_their_sorted_names(photos):
    table = scan_images(photos)
    assert table.classes == ("cats", "dogs")
    assert table.ids[0] == "cats/000.png" and len(table) == 20
    assert [table.classes[label] for label in table.labels] == [id.split("/")[0] for id in table.ids]


def test_nested_folders_belong_to_their_class(photos):
    (photos / "cats" / "2019" / "may").mkdir(parents=True)
    (photos / "cats" / "2019" / "may" / "deep.png").write_bytes(photo(7))
    table = scan_images(photos)
    assert table.classes[table.labels[list(table.ids).index("cats/2019/may/deep.png")]] == "cats"


def test_split_folders_give_the_splits(tmp_path):
    for split, n in (("train", 6), ("val", 3), ("test", 2)):
        photo_folder(tmp_path / split, n)
    table = scan_images(tmp_path)
    assert table.counts().tolist() == [[6, 3, 2], [6, 3, 2]]


@pytest.mark.parametrize("name", ["train", "Training", "val", "test"])
def test_a_class_may_have_the_name_of_a_split(tmp_path, name):
    photo_folder(tmp_path, 4, ("bus", "car", name))
    table = scan_images(tmp_path)
    assert table.classes == tuple(sorted(("bus", "car", name)))
    assert len(table) == 12 and not table.skipped


def test_a_class_named_train_below_split_folders_is_a_class(tmp_path):
    for split, n in (("train", 6), ("test", 3)):
        photo_folder(tmp_path / split, n, ("bus", "train"))
    (tmp_path / ".cache").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    table = scan_images(tmp_path, validation=0.0)
    assert table.classes == ("bus", "train") and table.counts().tolist() == [[6, 0, 3], [6, 0, 3]]


def test_split_folders_beside_another_folder_are_classes_with_a_warning(tmp_path, caplog):
    for folder in ("train", "val"):
        photo_folder(tmp_path / folder, 3)
    photo_folder(tmp_path, 3, ("drafts",))
    with caplog.at_level("WARNING"):
        assert scan_images(tmp_path).classes == ("drafts", "train", "val")
    assert "train, val" in caplog.text and "drafts" in caplog.text


def test_without_a_validation_folder_it_is_drawn_from_train(tmp_path):
    photo_folder(tmp_path / "train", 60)
    for name in ("cats", "dogs"):
        (tmp_path / "test" / name).mkdir(parents=True)
        for i in range(5):
            (tmp_path / "test" / name / f"{i}.png").write_bytes(photo(5000 + i + (50 if name == "dogs" else 0)))
    table = scan_images(tmp_path)
    assert all(id.startswith("test/") == (split == "test") for id, split in zip(table.ids, table.splits, strict=True))
    assert 5 < (table.splits == "validation").sum() < 50


def test_flat_folder_is_labelled_by_file_name(tmp_path):
    for i in range(4):
        (tmp_path / f"cat.{i}.jpg").write_bytes(photo(i, format="JPEG"))
        (tmp_path / f"dog.{i}.jpg").write_bytes(photo(10 + i, format="JPEG"))
    (tmp_path / "cover.jpg").write_bytes(photo(99, format="JPEG"))
    table = scan_images(tmp_path)
    assert table.classes == ("cat", "dog") and len(table) == 8
    assert table.skipped[0].path == "cover.jpg"


@pytest.mark.parametrize(
    ("stem", "label"),
    [("cat.17", "cat"), ("golden_retriever_12", "golden_retriever"), ("a2b-7", "a2b"), ("rose (3)", "rose")],
)
def test_label_of_a_numbered_name(stem, label):
    assert NUMBERED_NAME.match(stem)["label"] == label


def test_manifest_gives_labels_splits_and_groups(photos, tmp_path):
    lines = ["path,label,split,group"]
    lines += [f"photos/cats/{i:03d}.png,tabby,,patient {i % 2}" for i in range(10)]
    lines += [f"photos/dogs/{i:03d}.png,collie,{'test' if i < 3 else 'train'}," for i in range(10)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    table = scan_images(tmp_path / "list.csv")
    assert table.classes == ("collie", "tabby")
    assert [split_of(table, f"photos/dogs/{i:03d}.png") for i in range(4)] == ["test"] * 3 + ["train"]
    for patient in (0, 1):
        assert len({split_of(table, f"photos/cats/{i:03d}.png") for i in range(patient, 10, 2)}) == 1
    assert table.groups.tolist() == [0, 1] * 5 + [NO_GROUP] * 10


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("path,kind\na.png,x\n", "line 1: no column 'label'; there is path, kind"),
        ("path,label\nphotos/cats/000.png,x\nnone.png,y\n", "line 3: no such image"),
        ("path,label\nphotos/cats/000.png,\n", "line 2: no label"),
        ("path,label,split\nphotos/cats/000.png,x,maybe\n", "line 2: split 'maybe'"),
        ("path,label\nphotos/cats/000.png,x\nphotos/cats/000.png,y\n", "line 3: photos/cats/000.png is listed already"),
        ("", "no column 'path'"),
    ],
)
def test_manifest_errors_name_the_line(photos, tmp_path, text, complaint):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ImagesError, match=r"list\.csv") as caught:
        scan_images(tmp_path / "list.csv")
    assert complaint in str(caught.value)


def test_the_repr_of_a_table_is_one_short_line(photos, tmp_path):
    shown = repr(scan_images(photos))
    assert shown.startswith(f"<ImageTable {str(photos)!r}: 20 images; 'cats' 10, 'dogs' 10; train ")
    many = photo_folder(tmp_path / "many", per_class=40, classes=("a\nb", *"cdefgh"))
    shown = repr(scan_images(many))
    assert "280 images; 'a\\nb' 40, 'c' 40, 'd' 40, 'e' 40, 'f' 40, ...;" in shown and len(shown) < 300


def test_a_split_never_changes_when_images_are_added(tmp_path):
    photo_folder(tmp_path, 50)
    before = scan_images(tmp_path, test=0.1)
    photo_folder(tmp_path, 120)
    after = scan_images(tmp_path, test=0.1)
    assert len(after) == 240
    assert all(split_of(after, id) == split for id, split in zip(before.ids, before.splits, strict=True))


def test_a_split_never_changes_when_an_image_is_renamed(photos):
    before = split_of(scan_images(photos), "cats/003.png")
    (photos / "cats" / "003.png").rename(photos / "dogs" / "other.png")
    assert split_of(scan_images(photos), "dogs/other.png") == before


def test_splits_have_the_requested_fractions():
    keys = [os.urandom(32) for _ in range(20000)]
    codes = assign_splits(keys, [None] * len(keys), [None] * len(keys), validation=0.2, test=0.1)
    assert np.bincount(codes) / len(codes) == pytest.approx([0.7, 0.2, 0.1], abs=0.02)


def test_identical_images_share_a_split(tmp_path):
    photo_folder(tmp_path, 30)
    for i in range(30):
        (tmp_path / "dogs" / f"copy{i}.png").write_bytes((tmp_path / "cats" / f"{i:03d}.png").read_bytes())
    table = scan_images(tmp_path)
    assert all(split_of(table, f"cats/{i:03d}.png") == split_of(table, f"dogs/copy{i}.png") for i in range(30))


def test_groups_that_share_an_image_share_a_split():
    contents = [b"a", b"b", b"b", b"c", b"d"]
    groups = ["one", "one", "two", "two", None]
    for salt in range(40):
        keys = [key + bytes([salt]) for key in contents]
        codes = assign_splits(keys, [g and f"{g}{salt}" for g in groups], [None] * 5, validation=0.5, test=0.0)
        assert len(set(codes[:4].tolist())) == 1


def test_fault_23_formats_are_recognised_by_content(photos):
    (photos / "cats" / "no_extension").write_bytes(photo(50, format="JPEG"))
    (photos / "cats" / "wrong.txt").write_bytes(photo(51, format="WEBP"))
    (photos / "cats" / "notes.txt").write_text("no image")
    table = scan_images(photos)
    assert {"cats/no_extension", "cats/wrong.txt"} <= set(table.ids)
    assert ("cats/notes.txt", "is no image") in table.skipped


def test_fault_22_a_file_named_like_an_image_is_listed_as_one(photos):
    (photos / "cats" / "page.jpg").write_text("<html>")
    assert "cats/page.jpg" in scan_images(photos).ids


def test_fault_31_links_pipes_and_folders_are_skipped(photos, tmp_path):
    outside = photo_folder(tmp_path / "outside", 2, ("more",)) / "more"
    cats = photos / "cats"
    (cats / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (cats / "loop").symlink_to(photos)
    (cats / "also_dogs").symlink_to(photos / "dogs")
    (cats / "linked").symlink_to(outside)
    (cats / "linked_again").symlink_to(outside)
    (cats / "folder.jpg").mkdir()
    os.mkfifo(cats / "pipe.jpg")
    table = scan_images(photos)
    assert len(table) == 22 and "cats/linked/000.png" in table.ids
    reasons = {Path(skipped.path).name: skipped.reason for skipped in table.skipped}
    assert set(reasons) == {"dangling.jpg", "loop", "also_dogs", "linked_again", "folder.jpg", "pipe.jpg"}


@pytest.mark.parametrize("name", ["new\nline.png", "émoji 🐈.png", " lead, comma.png", b"latin\xe9.png"])
def test_fault_32_any_file_name_is_listed(photos, name):
    (photos / "cats" / os.fsdecode(name)).write_bytes(photo(77))
    assert "cats/" + os.fsdecode(name) in scan_images(photos).ids


def test_fault_33_hidden_files_are_no_images_and_empty_folders_no_classes(photos):
    for name in (".hidden.png", "._000.png", "Thumbs.db"):
        (photos / "cats" / name).write_bytes(photo(5))
    (photos / ".git").mkdir()
    (photos / "empty").mkdir()
    table = scan_images(photos)
    assert len(table) == 20 and table.classes == ("cats", "dogs")
    assert table.skipped == [("empty", "is an empty class folder")]


def test_fault_34_two_extensions_are_two_images(photos):
    (photos / "cats" / "000.jpg").write_bytes(photo(1, format="JPEG"))
    table = scan_images(photos)
    assert {"cats/000.jpg", "cats/000.png"} <= set(table.ids)


def test_fault_37_bad_folders_end_in_a_clear_error(photos, tmp_path):
    with pytest.raises(ImagesError, match="no such folder"):
        scan_images(tmp_path / "nothing")
    with pytest.raises(ImagesError, match="is a file"):
        scan_images(photos / "cats" / "000.png")
    with pytest.raises(ImagesError, match="no images in"):
        scan_images(photo_folder(tmp_path / "none", 0))
    with pytest.raises(ImagesError, match="one class only"):
        scan_images(photo_folder(tmp_path / "one", 5, ("cats",)))
    (photos / "wolves").mkdir()
    (photos / "wolves" / "1.png").write_bytes(photo(3))
    with pytest.raises(ImagesError, match="of class wolves"):
        scan_images(photos)


def test_known_files_are_not_read_again_unless_they_changed(photos):
    first = scan_images(photos)
    counts = []
    (photos / "cats" / "003.png").write_bytes(photo(999))
    second = scan_images(photos, known=first, on_read=lambda *call: counts.append(call))
    assert counts == [(0, 1), (1, 1)]
    assert second.content_keys() == scan_images(photos).content_keys()
    assert second.content_keys() != first.content_keys()


@pytest.mark.parametrize(("validation", "test"), [(1.0, 0.0), (0.6, 0.5), (-0.1, 0.0)])
def test_fractions_must_leave_something_to_train(photos, validation, test):
    with pytest.raises(ImagesError, match="fractions"):
        scan_images(photos, validation=validation, test=test)


def test_scans_that_know_an_earlier_one_find_what_others_find(tmp_path):
    rng, known = np.random.default_rng(0), None
    for i in range(30):
        for name in rng.choice(40, 8, replace=False):
            path = tmp_path / ("cats", "dogs")[name % 2] / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(rng.bytes(rng.integers(1, 4)))
            os.utime(path, ns=(0, i))
        if i > 5:
            (tmp_path / "cats" / f"{2 * rng.integers(20)}.png").unlink(missing_ok=True)
        new, again = scan_images(tmp_path), scan_images(tmp_path, known=known)
        assert new.ids == again.ids and new.classes == again.classes
        for name in COLUMNS:
            expected, found = getattr(new, name), getattr(again, name)
            assert found.dtype == expected.dtype and np.array_equal(found, expected), name
        known = again


def test_the_known_files_of_another_folder_are_not_used(photos, tmp_path):
    first = scan_images(photos)
    other = photo_folder(tmp_path / "other")
    (other / "cats" / "003.png").write_bytes(photo(31))
    for id in first.ids:
        os.utime(other / id, ns=(0, first.mtimes[list(first.ids).index(id)]))
    assert scan_images(other, known=first).content_keys() == scan_images(other).content_keys()


def test_fault_30_a_class_folder_without_permission_is_an_error(photos, monkeypatch):
    real = os.scandir

    def scandir(path):  # permissions do not stop root, who may run this test
        if Path(path).name == "dogs":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ImagesError, match="dogs cannot be listed: Permission denied"):
        scan_images(photos)
