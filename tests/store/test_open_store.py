"""Opening a store on a disk, and on a network file system that shows an old state."""

import contextlib
import fcntl
import os
import shutil
import threading
import time

import pytest

from pipeline import StoreDamaged, StoreError, open_features
from pipeline.files.file_structure import check_hdf5_structure
from pipeline.store import open_for_writing, open_store
from tests.store.small_stores import ODD, content_of, index_of, manifest_of


@pytest.fixture
def shared(monkeypatch):
    monkeypatch.setattr(open_store, "is_shared", lambda path: True)
    monkeypatch.setattr(open_store, "SHARED_SECONDS", 2.0)


def test_on_a_local_disk_a_missing_index_is_an_error_at_once(cache):
    next(cache.glob("index-*.h5")).unlink()
    started = time.monotonic()
    with pytest.raises(StoreDamaged, match=r"index-.* is missing; restore it"):
        open_features(cache)
    assert time.monotonic() - started < 1


@pytest.mark.usefixtures("shared")
def test_on_a_shared_file_system_a_reader_waits_for_the_index_that_a_manifest_names(cache, caplog):
    index = next(cache.glob("index-*.h5"))
    index.rename(cache / "hidden")
    threading.Timer(0.6, (cache / "hidden").rename, [index]).start()
    assert len(open_features(cache).members()) == 5
    assert "is not there yet; waiting up to 2 s" in caplog.text and len(caplog.records) == 1


@pytest.mark.usefixtures("shared")
def test_on_a_shared_file_system_a_reader_of_an_old_manifest_reads_the_new_one(cache):
    old = (cache / "manifest.json").read_bytes()
    with open_for_writing(cache) as writer:
        writer.begin(manifest_of(), index_of(ODD[:4]))
    new = (cache / "manifest.json").read_bytes()
    (cache / "manifest.json").write_bytes(old)
    (cache / "new").write_bytes(new)
    threading.Timer(0.6, (cache / "new").replace, [cache / "manifest.json"]).start()
    assert len(open_features(cache).images.ids) == 4


@pytest.mark.usefixtures("shared")
def test_on_a_shared_file_system_the_wait_for_an_index_ends(cache):
    next(cache.glob("index-*.h5")).unlink()
    started = time.monotonic()
    with pytest.raises(StoreDamaged, match=r"index-.* is missing; restore it"):
        open_features(cache)
    assert 2 <= time.monotonic() - started < 4


def test_a_store_that_another_host_has_just_made_is_found(cache, tmp_path, monkeypatch):
    """NFS goes on to say that a file is missing until the directory is opened."""
    made, real = shutil.move(cache, tmp_path / "made"), os.open

    def ask(path, *args):
        if path == cache.parent:
            made.rename(cache)
        return real(path, *args)

    monkeypatch.setattr(open_store.os, "open", ask)
    assert len(open_features(cache).members()) == 5
    with pytest.raises(StoreError, match="no store at"):
        open_features(tmp_path / "elsewhere/cache")


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_files_are_read_without_a_lock(tmp_path, compression):
    """Some mounts have no locks. Here, another descriptor locks the files, so that a lock of h5py would fail."""
    index = index_of(ODD)
    with open_for_writing(tmp_path / "cache") as writer:
        writer.begin(manifest_of(compression=compression), index)
        for start, stop in index.ranges.tolist():
            writer.put_shard(content_of(index, start, stop), ())
    with contextlib.ExitStack() as opened:
        for path in (tmp_path / "cache").rglob("*.h5"):
            fcntl.flock(opened.enter_context(open(path, "rb")), fcntl.LOCK_EX)
            check_hdf5_structure(path)
        store = open_features(tmp_path / "cache")
        assert store.load()[0].shape[0] == len(store.members())
