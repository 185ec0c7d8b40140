"""What was written to a store is read back, and damage is an error."""

import os
import time
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import StoreDamaged, open_features
from pipeline.files.durable import canonical_json, sha256_of
from pipeline.images.status import Status
from pipeline.images.table import COLUMNS
from pipeline.store import NO_ROW, BadRow, Index, ShardDamaged, open_for_writing
from pipeline.store.index import read_index
from pipeline.store.manifest import read_manifest
from pipeline.store.shard_file import build_shard
from tests.store.small_stores import ODD, SPEC, content_of, index_of, manifest_of, table


@pytest.mark.parametrize("names", [[], [b"cats/a.png"], ODD])
def test_fault_32_an_index_comes_back_as_it_was(names):
    for index in (
        index_of(names),
        Index(table(names), np.full(len(names), NO_ROW), np.empty((0, 32), np.uint8), np.empty((0, 2), np.int64)),
    ):
        data = bytes(index.to_bytes())
        back = read_index(data, Path("/photos"), Path("index"))
        assert back.images.ids == index.images.ids and back.images.classes == index.images.classes
        assert back.images.skipped == index.images.skipped and back.images.root == index.images.root
        for name in COLUMNS:
            got, expected = getattr(back.images, name), getattr(index.images, name)
            assert got.dtype == expected.dtype and np.array_equal(got, expected)
        for name in ("rows", "contents", "ranges"):
            assert np.array_equal(getattr(back, name), getattr(index, name))
        assert bytes(back.to_bytes()) == data


@pytest.mark.parametrize("where", ["images", "index"])
def test_contents_of_another_dtype_are_an_error(where):
    index = index_of(ODD)
    wide = index.contents.astype(np.int64)
    images = replace(index.images, contents=wide if where == "images" else index.images.contents)
    index = replace(index, images=images, contents=wide if where == "index" else index.contents)
    with pytest.raises(StoreDamaged):
        read_index(bytes(index.to_bytes()), Path("/photos"), Path("index"))


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_equal_rows_make_equal_bytes(compression):
    index = index_of(ODD)
    first = bytes(build_shard(content_of(index, 0, 5), "f" * 64, compression))
    time.sleep(0.01)
    assert bytes(build_shard(content_of(index, 0, 5), "f" * 64, compression)) == first
    assert bytes(build_shard(content_of(index, 0, 5), "e" * 64, compression)) != first


def test_rows_come_back_in_any_order_and_dtype(cache):
    store, index = open_features(cache), index_of(ODD)
    expected = np.concatenate([content_of(index, start, stop).features for start, stop in index.ranges.tolist()])
    for rows in ([0, 1, 2, 3, 4], [4, 0, 3, 3], [2], []):
        got = store.read_rows(np.array(rows, np.int64), dtype="float32")
        assert got.dtype == np.float32 and np.array_equal(got, expected[rows].astype(np.float32))


def test_a_shard_is_mapped_into_memory_unless_it_is_compressed(cache):
    store = open_features(cache)
    features = store.shards.open(store.manifest.shards[0]).read(np.arange(2))
    assert isinstance(features, np.memmap) and not features.flags.writeable
    assert np.array_equal(features, content_of(store.index, 0, 2).features)


def test_fault_08_a_reader_waits_for_an_index_that_is_being_replaced(cache, monkeypatch):
    manifest = read_manifest(cache)
    index = cache / manifest.index
    index.rename(cache / "away")
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        (cache / "away").rename(index)

    monkeypatch.setattr("pipeline.store.open_store.time.sleep", sleep)
    assert len(open_features(cache).members()) == 5 and len(waits) == 1


def test_fault_08_a_missing_index_is_named(cache, monkeypatch):
    monkeypatch.setattr("pipeline.store.open_store.time.sleep", lambda seconds: None)
    index = cache / read_manifest(cache).index
    index.unlink()
    with pytest.raises(StoreDamaged, match=f"{index.name} is missing; .*--rebuild"):
        open_features(cache)


def test_a_directory_with_nothing_but_quarantine_becomes_a_store(cache):
    with open_for_writing(cache) as writer:
        writer.quarantine(writer.current.manifest.shards[:1])
    (cache / "manifest.json").unlink()
    with open_for_writing(cache) as writer:
        assert writer.store is None
    assert len(list((cache / "quarantine").iterdir())) == 1


def test_fault_09_a_shard_that_changes_after_it_was_checked_is_not_read(cache):
    store = open_features(cache)
    shard = store.shards.open(store.manifest.shards[0])
    data = bytearray(shard.path.read_bytes())
    data[shard.offset] ^= 1
    shard.path.write_bytes(data)
    os.utime(shard.path, ns=(0, 0))
    with pytest.raises(ShardDamaged, match=r"was changed after it was checked; .*pipeline repair"):
        store.load()
    shard.path.unlink()
    with pytest.raises(ShardDamaged, match="is missing"):
        store.load()


def test_bad_rows_are_listed_with_their_reason_and_never_returned(tmp_path):
    index = index_of(ODD, 5)
    content = content_of(index, 0, 5)
    content.status[2], content.features[2] = Status.TOO_LARGE, 0
    with open_for_writing(tmp_path / "cache") as writer:
        writer.begin(manifest_of(), index)
        writer.put_shard(content, (BadRow(2, Status.TOO_LARGE, "has 10 pixels"),))
    store = open_features(tmp_path / "cache")
    assert [(bad.id, bad.status, bad.reason) for bad in store.bad] == [
        (os.fsdecode(ODD[2]), Status.TOO_LARGE, "has 10 pixels")
    ]
    assert len(store.load()[0]) == 4 and store.pending == 0


def test_the_fingerprint_is_that_of_the_spec():
    assert sha256_of(canonical_json(manifest_of().spec).encode()) == SPEC.fingerprint


def test_the_crc32_of_a_row_is_that_of_its_bytes(cache):
    with h5py.File(min((cache / "shards").iterdir()), "r") as file:
        assert file["crc32"][:].tolist() == [zlib.crc32(row.tobytes()) for row in file["features"][:]]
