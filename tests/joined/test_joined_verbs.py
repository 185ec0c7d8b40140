"""Joined stores on the command line: `heads A+B`, and the verbs that take the joined store."""

import json
import shutil
from dataclasses import replace

import pytest

from pipeline import open_features, scan_images
from pipeline.errors import StoreError
from pipeline.joined.find_stores import open_joined
from tests.fakes import SPEC, extract_features, photo

OTHER = replace(SPEC, size=(12, 8), store_dtype="float16", precision="bfloat16")
HEADS = ("--heads", "ridge,logistic", "--set", "logistic.C=1")


@pytest.fixture
def stores(tmp_path, photos, small_shards, monkeypatch):
    """Two stores below `cache/`, which is a folder of the current one."""
    monkeypatch.chdir(tmp_path)
    images = scan_images(photos)
    return [extract_features(images, f"cache/{name}", spec) for name, spec in {"a": SPEC, "b": OTHER}.items()]


@pytest.fixture
def joined(stores, run):
    """The directory of the joined store, with heads."""
    assert run("heads", "cache/a+cache/b", *HEADS)[0] == 0
    return "cache/a+b"


def test_heads_joins_stores_and_brings_them_up_to_date(stores, photos, run):
    status, out, err = run("heads", "cache/a+cache/b", *HEADS)
    assert status == 0 and err.count("trained") == 2
    assert "joined     cache/a+b of " in out and "20 rows to read from the joined stores" in out
    assert "validation images, features (6,) float32" in out and "on vgg16+vgg16" in out
    assert "saved in cache/a+b/heads" in out

    status, out, err = run("heads", "cache/a+b", *HEADS)
    assert status == 0 and "rows to read" not in out

    (photos / "cats/new.png").write_bytes(photo(77))
    for store, spec in zip(stores, (SPEC, OTHER), strict=True):
        extract_features(scan_images(photos), store.directory, spec)
    status, out, err = run("heads", "cache/a+b", *HEADS)
    assert status == 0 and "changes    +1" in out and "1 row to read" in out and "20 images joined already" in out


def test_images_that_are_left_out_and_views_are_said(stores, photos, run, tmp_path):
    (photos / "cats/new.png").write_bytes(photo(77))
    extract_features(scan_images(photos), "cache/a", SPEC, views=2)
    status, _, err = run("heads", "cache/a+cache/b", *HEADS)
    assert status == 0 and "left out: 1 image without features in cache/b: cats/new.png" in err
    assert "views of" in err and "cache/a are not joined" in err
    shutil.rmtree(tmp_path / "cache/b")
    status, _, err = run("heads", "cache/a+b", *HEADS)
    assert status == 0 and "cache/b is gone: cache/a+b is taken as it is" in err


def test_a_plus_may_be_part_of_the_name_of_a_store(stores, photos, tmp_path):
    images = scan_images(photos)
    for name in ("cache/x+y", "cache/+z"):
        extract_features(images, name, replace(SPEC, size=(16, 16 if "x" in name else 8)))
    store = open_joined("cache/x+y+cache/a+cache/+z")
    assert store.joined_directories == [tmp_path / name for name in ("cache/x+y", "cache/a", "cache/+z")]
    assert store.directory.as_posix() == "cache/x+y+a++z"
    assert open_joined("cache/x+y").feature_shape == (2, 2, 3)
    assert open_joined("cache/a/+cache/b/").directory.as_posix() == "cache/a+b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cache/a+cache/c", r"no store at cache/a\+cache/c, nor at cache/c,"),
        ("cache/c+cache/b", "nor at cache/c,"),
        ("cache/c+cache/d", "nor at cache/c and cache/d,"),
        ("cache/c", "no store at cache/c: make one"),
        ("cache/a+", r"no store at cache/a\+, nor at an empty name,"),
    ],
)
def test_pieces_that_are_no_stores_are_named(stores, text, words):
    with pytest.raises(StoreError, match=words):
        open_joined(text)


def test_a_text_with_two_meanings_is_refused(stores, photos, monkeypatch, tmp_path):
    monkeypatch.chdir("cache")
    for name in ("a+b", "b+c", "c"):
        shutil.copytree("a", name)
    with pytest.raises(StoreError, match=r"a\+b\+c can mean a and b\+c or a and b and c or a\+b and c; rename"):
        open_joined("a+b+c")


def test_predict_info_report_and_verify_take_a_joined_store(joined, run, tmp_path):
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/new.png").write_bytes(photo(77))
    status, _, err = run("predict", joined, "inbox", "photos", "--head", "ridge", "--out", "labels.csv")
    assert status == 0 and err.count("loading vgg16") == 2
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 22

    status, out, _ = run("info", joined)
    assert status == 0 and out.count("conv base   vgg16 at ") == 2 and "12x8, bfloat16" in out and "logistic" in out
    assert json.loads(run("info", joined, "--json")[1])["spec"]["joined"][0]["size"] == [8, 8]

    assert run("report", joined)[0] == 0
    page = (tmp_path / joined / "report.html").read_text()
    assert "input size of part 2" in page and "12 x 8 pixels" in page

    status, out, _ = run("verify", joined, "--full", "--sources", "--recompute", 5)
    assert status == 0 and "computed 5 rows again" in out and "nothing wrong" in out


def test_a_damaged_shard_is_found_and_repaired_from_the_parts(joined, run, tmp_path):
    store = open_features(joined)
    path = store.shards.path(store.shards.entries[1])
    good = path.read_bytes()
    path.write_bytes(good[:-50] + bytes([good[-50] ^ 1]) + good[-49:])
    status, out, _ = run("verify", joined, "--full")
    assert status == 1 and "repair cache/a+b" in out
    (tmp_path / "cache/b").rename(tmp_path / "cache/moved")
    status, _, err = run("repair", joined)
    assert status == 2 and "cache/b" in err and len(err.strip().splitlines()[-1]) < 400
    (tmp_path / "cache/moved").rename(tmp_path / "cache/b")
    status, out, _ = run("repair", joined)
    assert status == 0 and "computed 8 rows again" in out and path.read_bytes() == good
    assert run("verify", joined, "--full")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("finetune",), "is joined of"),
        (("features", "photos", "--cache"), "is joined of"),
        (("features", "photos", "--rebuild", "--cache"), "is joined of"),
        (("features", "photos", "--part", "1/2", "--cache"), "is joined of"),
    ],
)
def test_what_a_joined_store_cannot_do_is_one_line(joined, run, arguments, words):
    before = open_features(joined).manifest
    status, _, err = run(*arguments, joined)
    assert status == 2 and words in err.splitlines()[-1] and "give one of these stores" in err
    assert open_features(joined).manifest == before


def test_views_of_new_images_are_refused(joined, run):
    status, _, err = run("predict", joined, "photos", "--views", 2)
    assert status == 2 and "leave --views out" in err


def test_heads_on_a_cluster(joined, cluster):
    from pipeline import train_heads

    (trained,) = train_heads(open_features(joined), ["ridge"], cluster=cluster)
    (here,) = train_heads(open_features(joined), ["ridge"])
    assert trained.evaluation.to_json() == here.evaluation.to_json()


def test_duplicates_of_a_joined_store(joined, run, photos):
    shutil.copy(photos / "cats/000.png", photos / "dogs/copy.png")
    status, out, _ = run("duplicates", joined)
    assert status == 0 and "found 0 exact pairs" in out
