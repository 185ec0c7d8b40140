"""Joined stores: their features, their images, what brings them up to date, and what cannot be joined."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import Callbacks, join_stores, open_features, scan_images
from pipeline.errors import StoreDamaged, StoreError
from pipeline.heads.pooling import Pool
from pipeline.joined.part_reader import PartReader
from pipeline.store import read_manifest
from tests.fakes import SPEC, extract_features, photo

OTHER = replace(SPEC, size=(12, 8), store_dtype="float16", weights="random")


class Watch(Callbacks):
    """Records what is joined and what is left out; `interrupt_at` stops after so many images."""

    def __init__(self, interrupt_at: int | None = None):
        self.planned, self.left_out, self.interrupt_at = [], [], interrupt_at

    def join_planned(self, plan, store):
        self.planned.append(plan.rows_pending)

    def images_not_joined(self, store, ids, count):
        self.left_out.append((store.directory.name, list(ids), count))

    def progress(self, step, done, total, unit):
        if step == "joining" and done == self.interrupt_at:
            raise KeyboardInterrupt


@pytest.fixture
def stores(tmp_path, photos, small_shards):
    """Two stores of twenty photos, made with two conv bases."""
    images = scan_images(photos)
    return extract_features(images, tmp_path / "a", SPEC), extract_features(images, tmp_path / "b", OTHER)


def pooled(store, ids):
    rows = [store.index.rows[list(store.images.ids).index(id)] for id in ids]
    return Pool().fit_transform(store.rows_on_demand(np.array(rows)))


def assert_is_joined(store, parts):
    X, y = store.load()
    expected = np.concatenate([pooled(part, store.ids()) for part in parts], axis=1)
    assert X.dtype == np.float32 and X.tobytes() == expected.tobytes()
    assert X.shape == (len(y), 6) and len(np.unique(X, axis=0)) > 10
    return X


def test_rows_are_the_pooled_features_of_the_parts_bit_for_bit(stores, tmp_path, fake_conv_base):
    loads, watch = fake_conv_base.loads, Watch()
    store = join_stores([stores[0].directory, stores[1]], callbacks=watch)
    assert store.directory == tmp_path / "a+b" and watch.planned == [20] and watch.left_out == []
    assert_is_joined(store, stores)
    assert fake_conv_base.loads == loads
    for name in ("labels", "split_codes", "groups", "contents"):
        assert np.array_equal(getattr(store.images, name), getattr(stores[0].images, name))
    assert store.ids() == stores[0].ids() and store.classes == stores[0].classes and store.random_weights


def test_a_store_that_is_up_to_date_is_only_read(stores, tmp_path, monkeypatch):
    join_stores(stores, tmp_path / "both")
    monkeypatch.setattr("pipeline.joined.join_stores.open_for_writing", None)
    assert len(join_stores(stores, tmp_path / "both").members()) == 20


def test_new_relabelled_and_removed_images_are_brought_up_to_date(stores, photos, tmp_path):
    join_stores(stores)
    (photos / "dogs/new.png").write_bytes(photo(99))
    (photos / "cats/000.png").rename(photos / "dogs/was_a_cat.png")
    (photos / "cats/001.png").unlink()
    images, watch = scan_images(photos), Watch()
    parts = [extract_features(images, tmp_path / "a", SPEC), extract_features(images, tmp_path / "b", OTHER)]
    store = join_stores(parts, callbacks=watch)
    assert watch.planned == [1]
    assert store.ids() == list(images.ids) and np.array_equal(store.images.labels, images.labels)
    assert_is_joined(store, parts)


def test_images_that_a_store_lacks_are_named_and_left_out(stores, photos, tmp_path):
    (photos / "dogs/empty.png").write_bytes(b"")
    for number in range(8):
        (photos / f"cats/new{number}.png").write_bytes(photo(100 + number))
    first, watch = extract_features(scan_images(photos), tmp_path / "a", SPEC), Watch()
    store = join_stores([first, stores[1]], callbacks=watch)
    a, b = watch.left_out
    assert a == ("a", ["dogs/empty.png"], 1)
    assert b == ("b", [*(f"cats/new{number}.png" for number in range(5))], 9)
    assert store.ids() == stores[1].ids()
    assert_is_joined(store, (first, stores[1]))


def test_the_images_are_those_of_the_first_store(stores, photos, tmp_path):
    few = extract_features(scan_images(photos).take(np.arange(0, 20, 3)), tmp_path / "few", OTHER)
    assert join_stores([few, stores[0]]).ids() == few.ids()
    assert join_stores([stores[0], few], tmp_path / "turned").ids() == few.ids()


def test_an_interrupted_run_goes_on(stores, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        join_stores(stores, callbacks=Watch(interrupt_at=16))
    assert len(open_features(tmp_path / "a+b").members()) == 16
    watch = Watch()
    assert_is_joined(join_stores(stores, callbacks=watch), stores)
    assert watch.planned == [4]


def test_a_shard_that_is_lost_is_read_again(stores, tmp_path):
    shards = join_stores(stores).shards
    shards.path(shards.entries[1]).unlink()
    watch = Watch()
    assert_is_joined(join_stores(stores, callbacks=watch), stores)
    assert watch.planned == [8]


def test_parts_that_were_moved_are_known_where_they_are_now(stores, tmp_path):
    before = join_stores(stores)
    moved = [Path(shutil.move(tmp_path / name, tmp_path / f"moved_{name}")) for name in ("a", "b")]
    watch = Watch()
    store = join_stores(moved, before.directory, callbacks=watch)
    assert store.joined_directories == open_features(before.directory).joined_directories == moved
    assert not watch.planned and store.manifest.shards == before.manifest.shards


def test_a_part_with_other_features_replaces_those_of_the_joined_store(stores, photos, tmp_path):
    before = join_stores(stores)
    changed = extract_features(scan_images(photos), tmp_path / "b", replace(OTHER, size=(16, 8)), rebuild=True)
    store = join_stores([stores[0], changed])
    assert store.fingerprint != before.fingerprint and store.spec.parts[1].size == (16, 8)
    assert_is_joined(store, (stores[0], changed))


def test_the_fingerprint_depends_on_the_parts_and_their_order(stores, tmp_path):
    one, other = (join_stores(order, tmp_path / str(i)) for i, order in enumerate((stores, stores[::-1])))
    assert one.fingerprint != other.fingerprint
    assert one.manifest.parts[0].fingerprint == stores[0].fingerprint
    assert one.spec.parts == (stores[0].spec, stores[1].spec)
    assert one.spec.name == "vgg16+vgg16" and one.spec.precision == "float32"


def test_features_that_overflow_in_float32_are_not_stored(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pipeline.joined.part_reader.average_positions",
        lambda block: np.where(np.arange(len(block))[:, None] == 2, np.inf, np.ones((len(block), 3))),
    )
    store = join_stores(stores)
    assert [bad.reason for bad in store.bad] == ["features are not finite in float32"] * 3


def test_what_cannot_be_joined_is_one_clear_error(stores, photos, tmp_path):
    a, b = stores
    other_photos = tmp_path / "others"
    for number in range(4):
        (other_photos / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (other_photos / "ab"[number % 2] / f"{number}.png").write_bytes(photo(500 + number))
    others = extract_features(scan_images(other_photos), tmp_path / "others-b", OTHER)
    viewed = extract_features(scan_images(photos), tmp_path / "viewed", replace(SPEC, size=(16, 16)), views=2)
    for given, words in {
        (a,): "1 stores are given to join; it takes two or more",
        (a, a): "have the same features",
        (a, b, a): "have the same features",
        (a, others): "have no image in common",
        (a, join_stores(stores)): "give one of these stores",
        (a, viewed.directory / "views/001"): "augmented copies",
        (a, tmp_path / "missing"): "no store at",
    }.items():
        with pytest.raises(StoreError, match=words):
            join_stores(given, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_a_store_that_waits_for_features_is_refused(stores, tmp_path):
    entry = stores[0].manifest.shards[0]
    stores[0].shards.path(entry).unlink()
    manifest = replace(read_manifest(tmp_path / "a"), shards=stores[0].manifest.shards[1:])
    manifest.write(tmp_path / "a")
    with pytest.raises(StoreError, match="8 of 20 images have no features yet"):
        join_stores([tmp_path / "a", tmp_path / "b"])


def test_a_store_that_is_not_joined_is_not_replaced(stores, photos, tmp_path):
    extract_features(scan_images(photos), tmp_path / "c", SPEC)
    with pytest.raises(StoreError, match="c holds a store that is not joined"):
        join_stores(stores, tmp_path / "c")


def test_a_damaged_manifest_tells_what_to_do(stores, tmp_path):
    join_stores(stores)
    path = tmp_path / "a+b/manifest.json"
    replace(read_manifest(tmp_path / "a+b"), feature_shape=(7,)).write(tmp_path / "a+b")
    with pytest.raises(StoreDamaged, match=r"are not those of its parts.*delete .*manifest.json"):
        join_stores(stores)
    path.unlink()
    assert_is_joined(join_stores(stores), stores)


def test_a_part_that_is_damaged_is_named(stores, tmp_path):
    path = stores[1].shards.path(stores[1].manifest.shards[0])
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreDamaged, match="b/shards"):
        join_stores(stores)


def test_parts_are_opened_again_only_if_they_are_the_same(stores, photos, tmp_path):
    store = join_stores(stores)
    reader = PartReader()
    reader.load_stored(store)
    features, is_found = reader.read(store.index.contents)
    assert is_found.all() and np.array_equal(features, store.read_rows(np.arange(20)))
    extract_features(scan_images(photos), tmp_path / "b", replace(OTHER, size=(16, 8)), rebuild=True)
    with pytest.raises(StoreError, match="has other features than it had"):
        reader.load_stored(store)
    shutil.rmtree(Path(tmp_path / "b"))
    with pytest.raises(StoreError, match="is not there"):
        reader.load_stored(store)
