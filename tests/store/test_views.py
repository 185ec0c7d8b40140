"""Augmented views of a store: which copies are computed, cached, reused, dropped and stacked."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import (
    ConvBaseSpec,
    StoreDamaged,
    StoreError,
    StoreMismatch,
    load_head,
    open_features,
    predict_images,
    scan_images,
    train_heads,
)
from pipeline.extraction.callbacks import Callbacks
from pipeline.images.augment import Augmentation, View, augment
from pipeline.images.decode import decode_image
from pipeline.maintenance.repair import repair_store
from pipeline.maintenance.verify import verify_store
from pipeline.store import NO_ROW, open_view, open_views, stack_views
from tests.fakes import FakeConvBase, extract_features, photo, photo_folder

pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def files_of(cache: Path) -> dict[str, bytes]:
    """The bytes of every shard of a store and its views."""
    return {str(path.relative_to(cache)): path.read_bytes() for path in sorted(cache.rglob("shards/*.h5"))}


def n_train(photos: Path) -> int:
    return int((scan_images(photos).split_codes == 0).sum())


def quarters(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(2, 4, 2, 4, 3).mean(axis=(1, 3))


def check_views(store, photos: Path, augmentation: Augmentation = Augmentation()) -> None:  # noqa: B008
    """Check that every view holds the copy of each train image and of no other image."""
    for number, view in enumerate(open_views(store), 1):
        assert view.spec.view == View(number, augmentation)
        assert sorted(view.ids()) == sorted(store.ids("train"))
        X, _ = view.load()
        for at, id in enumerate(view.ids()):
            member = view.images.ids.index(id)
            copy = augment(
                decode_image((photos / id).read_bytes(), (8, 8)), view.images.contents[member].tobytes(), view.spec.view
            )
            assert X[at] == pytest.approx(quarters(copy), abs=1e-3)


def test_each_train_image_gets_its_copies_and_no_other_image_does(photos, cache):
    store = extract_features(scan_images(photos), cache, views=4)
    n = n_train(photos)
    assert len(open_views(store)) == 3 and FakeConvBase.seen == 20 + 3 * n and FakeConvBase.loads == 1
    assert 0 < n < 20
    check_views(store, photos)


def test_a_store_without_views_is_the_same_store(photos, cache, tmp_path):
    plain = extract_features(scan_images(photos), tmp_path / "plain")
    store = extract_features(scan_images(photos), cache, views=2)
    assert open_views(plain) == [] and plain.fingerprint == store.fingerprint != open_views(store)[0].fingerprint
    assert files_of(tmp_path / "plain").items() <= files_of(cache).items()


def test_views_added_later_are_the_same_bytes_and_only_they_are_computed(photos, cache, tmp_path):
    extract_features(scan_images(photos), tmp_path / "at once", views=4)
    extract_features(scan_images(photos), cache, views=2)
    FakeConvBase.seen = FakeConvBase.loads = 0
    extract_features(scan_images(photos), cache, views=4)
    assert FakeConvBase.seen == 2 * n_train(photos) and FakeConvBase.loads == 1
    assert files_of(cache) == files_of(tmp_path / "at once")


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 7}, {"workers": 1}, {"workers": 5}])
def test_batches_and_threads_change_no_byte(photos, cache, tmp_path, options):
    extract_features(scan_images(photos), tmp_path / "other", views=3)
    extract_features(scan_images(photos), cache, views=3, **options)
    assert files_of(cache) == files_of(tmp_path / "other")


def test_a_copy_does_not_depend_on_the_other_images(photos, cache, tmp_path):
    whole = extract_features(scan_images(photos), cache, views=2)
    few = photo_folder(tmp_path / "few", 5)
    part = extract_features(scan_images(few), tmp_path / "part", views=2)
    copies = dict(zip(open_view(whole, 1).ids(), open_view(whole, 1).load()[0], strict=True))
    for id, features in zip(open_view(part, 1).ids(), open_view(part, 1).load()[0], strict=True):
        assert np.array_equal(features, copies[id])


def test_a_second_run_loads_nothing_and_keeps_the_views(photos, cache):
    extract_features(scan_images(photos), cache, views=3)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    FakeConvBase.loads = 0
    for views in (3, None):
        assert len(open_views(extract_features(scan_images(photos), cache, views=views))) == 2
    assert FakeConvBase.loads == 0
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_added_edited_and_removed_images_are_brought_into_every_view(photos, cache):
    extract_features(scan_images(photos), cache, views=3)
    photo_folder(photos, 15)
    (photos / "cats" / "004.png").write_bytes(photo(4242))
    (photos / "cats" / "005.png").unlink()
    FakeConvBase.seen = 0
    store = extract_features(scan_images(photos), cache)
    check_views(store, photos)
    new = {"cats/004.png", *(f"{name}/{at:03d}.png" for name in ("cats", "dogs") for at in range(10, 15))}
    of_train = new & set(store.ids("train"))
    assert len(of_train) > 0 and FakeConvBase.seen == len(new) + 2 * len(of_train)


def test_a_relabelled_image_keeps_its_copies(photos, cache):
    store = extract_features(scan_images(photos), cache, views=3)
    id = next(id for id in store.ids("train") if id.startswith("cats"))
    (photos / id).rename(photos / "dogs" / "moved.png")
    FakeConvBase.seen = 0
    store = extract_features(scan_images(photos), cache)
    assert FakeConvBase.seen == 0
    _, y, groups = stack_views(store, "train", 3)
    moved = store.ids("train").index("dogs/moved.png")
    assert (y[groups == groups[moved]] == 1).all() and np.count_nonzero(groups == groups[moved]) == 3


def test_the_last_views_are_deleted_where_fewer_are_asked_for(photos, cache):
    extract_features(scan_images(photos), cache, views=4)
    FakeConvBase.loads = 0
    assert len(open_views(extract_features(scan_images(photos), cache, views=2))) == 1
    assert open_views(extract_features(scan_images(photos), cache, views=1)) == []
    assert FakeConvBase.loads == 0 and not list((cache / "views").iterdir())


def test_rebuilding_rebuilds_the_views_with_their_settings(photos, cache):
    ranges = Augmentation(rotation=5, seed=9)
    extract_features(scan_images(photos), cache, views=3, augmentation=ranges)
    FakeConvBase.seen = 0
    store = extract_features(scan_images(photos), cache, rebuild=True)
    assert FakeConvBase.seen == 20 + 2 * n_train(photos)
    check_views(store, photos, ranges)


def test_a_damaged_view_can_be_rebuilt(photos, cache):
    ranges = Augmentation(rotation=5)
    extract_features(scan_images(photos), cache, views=3, augmentation=ranges)
    (cache / "views" / "001" / "manifest.json").write_text("{}")
    with pytest.raises(StoreDamaged, match="--rebuild"):
        extract_features(scan_images(photos), cache)
    check_views(extract_features(scan_images(photos), cache, rebuild=True), photos, ranges)


@pytest.mark.parametrize("file", ["manifest.json", "index-*.h5"])
def test_a_damaged_view_can_be_dropped_as_the_error_says(photos, cache, file):
    extract_features(scan_images(photos), cache, views=3)
    next((cache / "views" / "001").glob(file)).write_text("{}")
    with pytest.raises(StoreDamaged, match=r"views/001/.*, or drop the views with `features --views 1`"):
        open_views(open_features(cache))
    assert open_views(extract_features(scan_images(photos), cache, views=1)) == []
    assert len(open_views(extract_features(scan_images(photos), cache, views=2))) == 1


def test_after_an_interrupted_rebuild_with_another_spec_the_error_says_what_to_do(photos, cache, monkeypatch):
    extract_features(scan_images(photos), cache, views=2)
    other = ConvBaseSpec(size=(8, 8), store_dtype="float32", preprocessing="tf")
    monkeypatch.setattr("pipeline.extraction.fill_store.StoreFiller.fill_views", lambda *arguments: None)
    extract_features(scan_images(photos), cache, other, rebuild=True)
    monkeypatch.undo()
    with pytest.raises(StoreMismatch, match="drop the views with `features --views 1`"):
        extract_features(scan_images(photos), cache, other)


def test_a_view_is_computed_with_weights_that_were_moved(photos, cache, tmp_path):
    old, new = tmp_path / "old.h5", tmp_path / "new.h5"
    old.write_text("aa")
    store = extract_features(scan_images(photos), cache, ConvBaseSpec(size=(8, 8), weights=str(old)))
    old.rename(new)
    old.write_text("bb")
    spec = ConvBaseSpec(size=(8, 8), weights=str(new))
    (view,) = open_views(extract_features(scan_images(photos), cache, spec, views=2))
    assert view.manifest.sources["weights"] == str(new)
    assert view.manifest.spec["weights_sha256"] == store.manifest.spec["weights_sha256"]


def test_weights_that_change_before_a_view_is_begun_are_an_error(photos, cache, tmp_path, monkeypatch):
    weights = tmp_path / "weights.h5"
    weights.write_text("aa")
    spec = ConvBaseSpec(size=(8, 8), weights=str(weights))
    extract_features(scan_images(photos), cache, spec)

    def changed_meanwhile(spec):
        weights.write_text("bb")
        return FakeConvBase(spec)

    monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", changed_meanwhile)
    with pytest.raises(StoreMismatch, match="weights_sha256"):
        extract_features(scan_images(photos), cache, spec, views=2)
    assert not (cache / "views").exists()


def test_a_view_that_is_made_again_while_it_is_deleted_stays(photos, cache, monkeypatch):
    extract_features(scan_images(photos), cache, views=2)
    delete = shutil.rmtree

    def delete_late(path, **options):
        monkeypatch.setattr("shutil.rmtree", delete)
        extract_features(scan_images(photos), cache, views=2)  # by another process
        delete(path, **options)

    monkeypatch.setattr("shutil.rmtree", delete_late)
    extract_features(scan_images(photos), cache, views=1)
    (view,) = open_views(open_features(cache))
    assert len(view.load()[0]) == n_train(photos)


def test_the_rest_of_a_view_that_a_killed_run_was_deleting_is_deleted(photos, cache):
    extract_features(scan_images(photos), cache, views=2)
    left_over = cache / "views" / ".tmp-002-00000000"
    shutil.copytree(cache / "views" / "001", left_over)
    extract_features(scan_images(photos), cache)
    assert not left_over.exists() and len(open_views(open_features(cache))) == 1


def test_other_settings_are_an_error_that_names_them_and_nothing_is_computed(photos, cache):
    extract_features(scan_images(photos), cache, views=3)
    before, FakeConvBase.seen = files_of(cache), 0
    with pytest.raises(StoreMismatch, match=r"view.rotation: 40.0 in the store, 10.0 asked for") as refusal:
        extract_features(scan_images(photos), cache, views=4, augmentation=Augmentation(rotation=10, seed=1))
    assert {difference[0] for difference in refusal.value.differences} == {"view.rotation", "view.seed"}
    assert FakeConvBase.seen == 0 and files_of(cache) == before
    store = extract_features(scan_images(photos), cache, views=1)
    store = extract_features(scan_images(photos), cache, views=2, augmentation=Augmentation(rotation=10, seed=1))
    check_views(store, photos, Augmentation(rotation=10, seed=1))


def test_views_added_later_have_the_settings_of_the_first(photos, cache):
    extract_features(scan_images(photos), cache, views=2, augmentation=Augmentation(zoom=0))
    check_views(extract_features(scan_images(photos), cache, views=3), photos, Augmentation(zoom=0))


class Interrupting(Callbacks):
    """Raises KeyboardInterrupt after some images."""

    def __init__(self, after: int):
        self.left = after

    def progress(self, step, done, total, unit) -> None:
        self.left -= done > 0
        if not self.left:
            raise KeyboardInterrupt


def test_an_interruption_in_a_view_costs_one_shard(photos, cache, tmp_path):
    n = n_train(photos)
    extract_features(scan_images(photos), tmp_path / "whole", views=3)
    with pytest.raises(KeyboardInterrupt):
        extract_features(scan_images(photos), cache, views=3, callbacks=Interrupting(20 + n + 10))
    store = open_features(cache)
    with pytest.raises(StoreError, match=r"views/002: \d+ of \d+ images have no features in this view yet"):
        stack_views(store, "train", 3)
    assert len(stack_views(store, "train", 2)[1]) == 2 * n  # what is whole can be used
    FakeConvBase.seen = 0
    extract_features(scan_images(photos), cache)  # without a number: it goes on with the views that were begun
    assert FakeConvBase.seen == n - 8
    assert files_of(cache) == files_of(tmp_path / "whole")


class PlanRecorder(Callbacks):
    """Records the planned views and forward passes, and counts the conv bases loaded."""

    def __init__(self):
        self.plans: list[tuple[int, int]] = []
        self.loads = 0

    def conv_base_loading(self, spec) -> None:
        self.loads += 1

    def views_planned(self, views, passes, store) -> None:
        self.plans.append((len(views), passes))


def test_the_forward_passes_are_announced(photos, cache):
    n, recorder = n_train(photos), PlanRecorder()
    extract_features(scan_images(photos), cache, views=3, callbacks=recorder)
    extract_features(scan_images(photos), cache, views=3, callbacks=recorder)
    extract_features(scan_images(photos), cache, views=5, callbacks=recorder)
    assert recorder.plans == [(2, 2 * n), (4, 2 * n)] and recorder.loads == 2


def test_shards_of_a_view_that_a_killed_run_did_not_list_are_not_computed_again(photos, cache):
    store, recorder = extract_features(scan_images(photos), cache, views=2), PlanRecorder()
    manifest = open_view(store, 1).manifest
    replace(manifest, shards=()).write(cache / "views" / "001")
    FakeConvBase.seen = 0
    extract_features(scan_images(photos), cache, callbacks=recorder)
    assert FakeConvBase.seen == 0 and recorder.plans == [] and recorder.loads == 0
    assert open_view(store, 1).manifest == manifest


def test_too_little_disk_space_is_an_error_before_views_are_computed(photos, cache, monkeypatch):
    extract_features(scan_images(photos), cache)
    FakeConvBase.seen = 0
    free = 10 * open_features(cache).bytes_per_row
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free}))
    with pytest.raises(StoreError, match=f"for {3 * n_train(photos)} images"):
        extract_features(scan_images(photos), cache, views=4)
    assert FakeConvBase.seen == 0


def test_a_view_of_another_spec_is_an_error(photos, cache, tmp_path):
    extract_features(scan_images(photos), cache, views=2)
    other = ConvBaseSpec(size=(8, 8), store_dtype="float32", preprocessing="rescale")
    extract_features(scan_images(photos), tmp_path / "other", other, views=2)
    (cache / "views").rename(cache / "away")
    (tmp_path / "other" / "views").rename(cache / "views")
    with pytest.raises(
        StoreMismatch, match=r"views/001 is no view of .*preprocessing: rescale in the store, own asked"
    ):
        open_views(open_features(cache))
    with pytest.raises(StoreMismatch, match=r"views/001 .*preprocessing.*; drop the views with `features --views 1`"):
        extract_features(scan_images(photos), cache)


def test_two_views_with_exchanged_directories_are_an_error(photos, cache):
    extract_features(scan_images(photos), cache, views=3)
    views = cache / "views"
    for old, new in (("001", "x"), ("002", "001"), ("x", "002")):
        (views / old).rename(views / new)
    with pytest.raises(StoreMismatch, match=r"view\.number: 2 in the store, 1 asked for"):
        open_views(open_features(cache))
    with pytest.raises(StoreMismatch, match=r"view\.number"):
        extract_features(scan_images(photos), cache)


def test_an_image_that_a_view_lacks_is_an_error(photos, cache, tmp_path):
    extract_features(scan_images(photos), cache, views=2)
    (cache / "views").rename(tmp_path / "views")
    photo_folder(photos, 15)
    extract_features(scan_images(photos), cache)
    (tmp_path / "views").rename(cache / "views")
    with pytest.raises(StoreError, match=r"views/001: \d+ of \d+ images have no features in this view"):
        stack_views(open_features(cache), "train", 2)


def test_more_views_than_there_are_is_an_error(photos, cache):
    store = extract_features(scan_images(photos), cache, views=2)
    with pytest.raises(StoreError, match="has 2 of 5 views; run `features` with --views 5"):
        stack_views(store, "train", 5)


def test_a_copy_without_finite_features_is_left_out_of_its_view_alone(photos, cache, monkeypatch):
    poisoned = scan_images(photos)
    train = np.flatnonzero(poisoned.split_codes == 0)
    victim = poisoned.contents[train[0]].tobytes()

    def poison(pixels, content, view):
        copy = augment(pixels, content, view)
        return copy * np.float32(np.nan) if content == victim and view.number == 1 else copy

    monkeypatch.setattr("pipeline.extraction.decode_ahead.augment", poison)
    store = extract_features(poisoned, cache, views=3)
    X, y, groups = stack_views(store, "train", 3)
    assert len(X) == len(y) == 3 * len(train) - 1
    assert np.bincount(groups).tolist() == [2, *[3] * (len(train) - 1)]


def test_stacked_views_have_a_row_for_each_image_and_view(photos, cache):
    (photos / "cats" / "copy.png").write_bytes((photos / "cats" / "000.png").read_bytes())
    store = extract_features(scan_images(photos), cache, views=3)
    X, y, groups = stack_views(store, "train", 3)
    clean, labels = store.load("train")
    n = len(labels)
    assert X.shape == (3 * n, 2, 2, 3) and X.dtype == np.float32 and y.tolist() == labels.tolist() * 3
    assert np.array_equal(X[:n], clean)
    for number, view in enumerate(open_views(store), 1):
        copies = dict(zip(view.ids(), view.load()[0], strict=True))
        expected = np.stack([copies[id] for id in store.ids("train")])
        assert np.array_equal(X[np.arange(number * n, (number + 1) * n)], expected)
    some = np.array([2 * n, 0, 3 * n - 1, 0])
    assert np.array_equal(X[some], X[:][some])
    keys = [store.images.contents[member].tobytes() for member in store.members("train")] * 3
    assert len(set(zip(keys, groups.tolist(), strict=True))) == len(set(keys)) == len(set(groups.tolist()))


def test_a_damaged_shard_of_a_view_is_reported_and_repaired(photos, cache):
    store = extract_features(scan_images(photos), cache, views=3)
    assert verify_store(cache, full=True, recompute=100, sources=True) == []
    before = files_of(cache)
    shard = sorted((cache / "views" / "002" / "shards").iterdir())[0]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    (finding,) = verify_store(cache, full=True)
    assert finding.what == f"views/002/shards/{shard.name}" and "sha256 differs" in finding.problem
    with pytest.raises(StoreDamaged, match="repair"):
        _ = stack_views(open_features(cache), "train", 3)[0][:]
    report = repair_store(cache)
    assert list(report.problems) == [f"views/002/{shard.name}"] and report.rows == 8
    assert files_of(cache) == before and len(open_views(store)) == 2


def test_a_view_with_a_damaged_or_foreign_manifest_is_a_finding(photos, cache, tmp_path):
    extract_features(scan_images(photos), cache, views=3)
    (cache / "views" / "001" / "manifest.json").write_text("{}")
    (finding,) = verify_store(cache)
    assert finding.what == "views/001" and "manifest.json" in finding.problem
    (cache / "views" / "001").rename(tmp_path / "away")
    (cache / "views" / "002").rename(cache / "views" / "001")
    (finding,) = verify_store(cache)
    assert finding.what == "views/001" and "view.number" in finding.problem


def test_predicting_averages_over_views_on_request(photos, cache, tmp_path):
    ranges = Augmentation(rotation=20, seed=5)
    store = extract_features(scan_images(photos), cache, views=2, augmentation=ranges)
    train_heads(store, ["logistic"], params={"logistic": {"C": 1.0}}, max_bad=1.0)
    new = photo_folder(tmp_path / "new", 3)
    (new / "cats" / "000.png").write_bytes(photo(31))
    (new / "dogs" / "002.png").write_bytes(b"no image")
    paths = sorted(map(str, new.rglob("*.png")))
    clean = list(predict_images(cache, paths, batch_size=4))
    averaged = list(predict_images(cache, paths, views=3, batch_size=4))
    assert [prediction.path for prediction in averaged] == paths == [prediction.path for prediction in clean]
    assert averaged[-1].label is None and averaged[-1].error == clean[-1].error
    head = load_head(store.heads_directory / "logistic", fingerprint=store.fingerprint)
    for prediction in averaged[:-1]:
        data = Path(prediction.path).read_bytes()
        pixels, content = decode_image(data, (8, 8)), hashlib.sha256(data).digest()
        views = [pixels, *(augment(pixels, content, View(number, ranges)) for number in (1, 2))]
        expected = head.predict_proba(np.stack([quarters(view) for view in views])).mean(axis=0)
        assert list(prediction.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert [prediction.probabilities for prediction in averaged[:-1]] != [
        prediction.probabilities for prediction in clean[:-1]
    ]


def test_verbs_make_show_use_and_drop_views(photos, cache, run):
    n = n_train(photos)
    fill = ("features", photos, "--cache", cache, "--size", "8", "--store-dtype", "float32")
    augment = ("--augment", "rotation=10", "--augment", "brightness=0.2", "--augment-seed", 4)
    status, said, _ = run(*fill, "--views", 3, *augment)
    assert status == 0
    assert f"2 augmented copies of {n} train images (rotation 10, " in said and "brightness 0.2" in said
    assert f"{2 * n} forward passes to make" in said and f"{20 + 2 * n} forward passes made" in said
    assert "train images in 3 views" in said
    status, said, _ = run(*fill)
    assert status == 0 and "nothing to compute" in said
    status, _, complaint = run(*fill, "--views", 3, "--augment", "rotation=20")
    assert status == 2 and "view.rotation: 10.0 in the store, 20.0 asked for" in complaint
    status, _, complaint = run(*fill, "--augment", "blur=3")
    assert status == 2 and "augmentation has no setting 'blur'" in complaint
    assert "2 augmented copies of each train image: rotation 10" in run("info", cache)[1]
    described = json.loads(run("info", cache, "--json")[1])["views"]
    assert [view["with_features"] for view in described] == [n, n] and described[0]["view"]["seed"] == 4
    status, said, _ = run("verify", cache)
    assert status == 0 and "2 views: nothing wrong" in said
    status, said, _ = run("heads", cache, "--heads", "ridge")
    assert status == 0 and f"{n} train (in 3 views)" in said and "3 views of each train image" in said
    status, said, _ = run("heads", cache, "--heads", "ridge", "--views", 1)
    assert status == 0 and "views" not in said
    status, said, _ = run(*fill, "--views", 1)
    assert status == 0 and "2 augmented copies of each image deleted" in said
    assert open_views(open_features(cache)) == []


def test_rows_of_a_view_are_those_of_the_shards(photos, cache):
    store = extract_features(scan_images(photos), cache, views=2)
    (view,) = open_views(store)
    assert (view.index.rows != NO_ROW).all() and view.manifest.spec["view"]["number"] == 1
    assert json.loads((view.directory / "manifest.json").read_text())["fingerprint"] == view.fingerprint
