"""What the writer of a store puts on disk, when it lists it, and what it leaves behind."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import ConvBaseSpec, StoreDamaged, StoreError, extract_features, open_features, scan_images
from pipeline.images.status import Status
from pipeline.store import ShardContent, StoreLayout, open_for_writing, stage_shard
from pipeline.store.file_names import SHARDS, shard_name
from pipeline.store.shard_file import build_shard
from tests.fakes import FakeConvBase, photo_folder
from tests.store.small_stores import contents_of, index_of, manifest_of

NAMES = [f"cats/{i}.png".encode() for i in range(400)]


@pytest.fixture
def manifest_writes(monkeypatch) -> list[Path]:
    """The paths of the manifests that are written."""
    from pipeline.files.durable import write_json

    written = []

    def write(path, document):
        written.append(path)
        write_json(path, document)

    monkeypatch.setattr("pipeline.store.manifest.write_json", write)
    return written


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock that shows its only item."""
    time = [100.0]
    monkeypatch.setattr("pipeline.store.write_store.monotonic", lambda: time[0], raising=False)
    return time


def shard(index, start: int, stop: int, features: np.ndarray | None = None) -> ShardContent:
    features = np.full((stop - start, 2, 2, 3), start, np.float16) if features is None else features
    return ShardContent(start, features, np.full(stop - start, Status.OK, np.uint8), index.contents[start:stop])


def test_the_manifest_is_written_once_a_second_and_not_once_a_shard(tmp_path, manifest_writes, clock):
    index = index_of(NAMES)
    with open_for_writing(tmp_path / "cache") as writer:
        writer.begin(manifest_of(), index)
        for start, stop in index.ranges.tolist():
            clock[0] += 0.05  # of computing a shard: ten seconds for all
            writer.put_shard(shard(index, start, stop), ())
    assert len(index.ranges) == 200 and len(manifest_writes) <= 12
    store = open_features(tmp_path / "cache")
    assert store.pending == 0
    assert np.array_equal(store.load()[0][:, 0, 0, 0], np.arange(400) // 2 * 2)


def test_a_manifest_that_takes_long_to_write_is_written_less_often(tmp_path, manifest_writes, clock, monkeypatch):
    from pipeline.store.manifest import Manifest

    write, index = Manifest.write, index_of(NAMES)

    def write_slowly(manifest, directory):
        clock[0] += 2
        write(manifest, directory)

    monkeypatch.setattr(Manifest, "write", write_slowly)
    with open_for_writing(tmp_path / "cache") as writer:
        writer.begin(manifest_of(), index)
        for start, stop in index.ranges.tolist():
            clock[0] += 1
            writer.put_shard(shard(index, start, stop), ())
    assert 3 <= len(manifest_writes) <= 6  # one for the plan, one at the end, one in a hundred seconds


def test_a_reader_sees_the_shards_that_are_listed_and_a_writer_that_ends_lists_all(tmp_path, clock):
    index, cache = index_of(NAMES[:8]), tmp_path / "cache"
    with open_for_writing(cache) as writer:
        writer.begin(manifest_of(), index)
        writer.put_shard(shard(index, 0, 2), ())
        assert open_features(cache).pending == 8
        clock[0] += 2
        writer.put_shard(shard(index, 2, 4), ())
        assert open_features(cache).pending == 4
        writer.put_shard(shard(index, 4, 6), ())
        assert open_features(cache).pending == 4
    assert open_features(cache).pending == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_run_that_ends_with_an_error_lists_what_it_wrote(tmp_path, clock, error):
    index, cache = index_of(NAMES[:8]), tmp_path / "cache"
    with pytest.raises(type(error)), open_for_writing(cache) as writer:
        writer.begin(manifest_of(), index)
        writer.put_shard(shard(index, 0, 2), ())
        writer.put_shard(shard(index, 2, 4), ())
        raise error
    assert open_features(cache).pending == 4


def test_a_shard_that_replaces_a_listed_one_is_listed_at_once(tmp_path, clock):
    index, cache = index_of(NAMES[:4]), tmp_path / "cache"
    with open_for_writing(cache) as writer:
        writer.begin(manifest_of(), index)
        writer.put_shard(shard(index, 0, 2), ())
    with open_for_writing(cache) as writer:
        writer.put_shard(shard(index, 0, 2, np.ones((2, 2, 2, 3), np.float16)), ())
        assert open_features(cache).load()[0].max() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads the paths of descriptors in /proc")
def test_fault_03_what_a_killed_writer_left_unsynced_is_synced_before_it_is_listed(tmp_path, monkeypatch):
    index, cache = index_of(NAMES[:4]), tmp_path / "cache"
    with open_for_writing(cache) as writer:
        writer.begin(manifest_of(), index)
    left_over = shard(index, 0, 2), shard(index, 2, 4)
    (cache / SHARDS / shard_name(0, 2)).write_bytes(build_shard(left_over[0], manifest_of().fingerprint))
    receipt = stage_shard(StoreLayout(cache, manifest_of()), left_over[1], (), {})
    synced = []

    def fsync(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with open_for_writing(cache) as writer:
            assert writer.store.pending == 0
    listed = max(i for i, path in enumerate(synced) if path.name.startswith(".tmp-manifest"))
    staged = synced.index(cache / SHARDS / receipt.name)
    assert {cache, tmp_path, cache / SHARDS} <= set(synced[:staged])  # the first shard's name, and the store's own
    assert cache / SHARDS in synced[staged:listed]


class TestKilledWriter:
    """A store whose manifest does not list the shards that were written last."""

    @pytest.fixture
    def cache(self, photos, tmp_path, fake_conv_base, monkeypatch) -> Path:
        monkeypatch.setattr("pipeline.extraction.plan.MAX_ROWS", 4)
        cache = tmp_path / "cache"
        extract_features(scan_images(photos), cache, ConvBaseSpec(size=8))
        with open_for_writing(cache) as writer:
            manifest = writer.current.manifest
        replace(manifest, shards=manifest.shards[:1]).write(cache)
        assert open_features(cache).pending == 16
        FakeConvBase.seen = FakeConvBase.loads = 0
        return cache

    def test_its_shards_are_listed_without_a_forward_pass(self, photos, cache):
        store = extract_features(scan_images(photos), cache, ConvBaseSpec(size=8))
        assert store.pending == 0 and FakeConvBase.seen == FakeConvBase.loads == 0

    def test_its_shards_are_listed_although_images_were_added_meanwhile(self, photos, cache):
        photo_folder(photos, 13)
        store = extract_features(scan_images(photos), cache, ConvBaseSpec(size=8))
        assert store.pending == 0 and len(store.members()) == 26 and FakeConvBase.seen == 6

    def test_its_shards_are_listed_by_any_writer(self, cache):
        with open_for_writing(cache) as writer:
            assert writer.current.pending == 0
        assert open_features(cache).pending == 0


@pytest.mark.parametrize("row", [(8, 8, 512), (1, 1, 40_000)])
def test_a_compressed_shard_of_equal_rows_is_read(tmp_path, row):
    """Images of a drive that was unmounted are all grey; their features compress by far more than others do."""
    index, cache = index_of(NAMES[:64], 64), tmp_path / "cache"
    features = np.full((64, *row), 0.25, np.float16)
    with open_for_writing(cache) as writer:
        writer.begin(manifest_of(feature_shape=row, compression="gzip", rows_per_shard=64), index)
        writer.put_shard(shard(index, 0, 64, features), ())
    store = open_features(cache)
    (file,) = (cache / "shards").iterdir()
    assert features.nbytes > 200 * file.stat().st_size
    assert np.array_equal(store.load()[0], features)
    listed = store.manifest.shards
    replace(store.manifest, shards=()).write(cache)
    with open_for_writing(cache) as writer:  # it is also accepted after a kill
        assert writer.current.manifest.shards == listed


def test_rows_of_a_compressed_shard_are_read_alone(tmp_path, monkeypatch):
    index, cache = index_of(NAMES[:64], 64), tmp_path / "cache"
    features = np.random.default_rng(0).normal(size=(64, 2, 2, 3)).astype(np.float16)
    with open_for_writing(cache) as writer:
        writer.begin(manifest_of(compression="gzip", rows_per_shard=64), index)
        writer.put_shard(shard(index, 0, 64, features), ())
    store, getitem, decompressed = open_features(cache), h5py.Dataset.__getitem__, []

    def counted(dataset, key):
        result = getitem(dataset, key)
        decompressed.append(len(result) if dataset.name == "/features" else 0)
        return result

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    for rows in ([5], [7, 8, 9], [40, 3, 3, 41, 60]):
        decompressed.clear()
        assert np.array_equal(store.read_rows(np.array(rows)), features[rows])
        assert sum(decompressed) == len(set(rows))


@pytest.mark.parametrize("name", ["thesis.odt", "photos"])
def test_a_directory_that_holds_something_else_is_not_touched(tmp_path, name):
    (tmp_path / "mine" / name).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=f"mine holds {name} and no store"), open_for_writing(tmp_path / "mine"):
        pass
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("exists", [True, False])
def test_an_error_before_anything_is_written_leaves_no_lock(tmp_path, exists):
    if exists:
        (tmp_path / "a" / "b").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ZeroDivisionError), open_for_writing(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_store_is_not_touched_by_a_writer(tmp_path):
    index, cache = index_of(NAMES[:4]), tmp_path / "cache"
    with open_for_writing(cache) as writer:
        writer.begin(manifest_of(), index)
        writer.put_shard(shard(index, 0, 2), ())
    (cache / "manifest.json").write_text("{}")
    before = contents_of(cache)
    with pytest.raises(StoreDamaged), open_for_writing(cache):
        pass
    assert contents_of(cache) == before
