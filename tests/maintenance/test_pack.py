"""A packed store is one file that any HDF5 reader opens; it is complete or not there at all."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import pipeline
from pipeline import ConvBaseSpec, StoreDamaged, StoreError, open_features
from pipeline.cli.main import main
from pipeline.files.file_structure import check_hdf5_structure
from pipeline.images.scan import scan_images
from pipeline.maintenance.pack import pack_store
from pipeline.store.manifest import read_manifest
from tests.fakes import FEATURE_SHAPE, Recorder, photo, photo_folder

pytestmark = pytest.mark.usefixtures("small_shards")
ROOT = Path(__file__).parent.parent.parent
ODD = [b"new\nline.png", "émoji 🐈.png".encode(), b"latin\xe9.png", b"a, b.png"]


@pytest.fixture
def cache(photos, tmp_path) -> Path:
    for number, name in enumerate(ODD):
        (photos / "cats" / os.fsdecode(name)).write_bytes(photo(600 + number))
    (photos / "cats" / "0005.jpg").write_bytes(b"")
    (photos / "cats" / "copy.png").write_bytes((photos / "dogs" / "003.png").read_bytes())
    extract_features(photos, tmp_path / "cache")
    return tmp_path / "cache"


def extract_features(photos: Path, cache: Path, **options):
    return pipeline.extract_features(scan_images(photos, test=0.2), cache, ConvBaseSpec(size=(8, 8)), **options)


def check_same(file: Path, cache: Path) -> None:
    store = open_features(cache)
    X, y = store.load()
    with h5py.File(file, "r") as packed:
        assert set(packed) == {"features", "labels", "ids", "splits", "classes"}
        assert np.array_equal(packed["features"][:], X) and packed["features"].dtype == store.dtype
        assert np.array_equal(packed["labels"][:], y) and packed["labels"].dtype == np.int32
        assert list(packed["ids"].asstr(errors="surrogateescape")) == store.ids()
        assert list(packed["splits"].asstr()) == store.images.splits[store.members()].tolist()
        assert tuple(packed["classes"].asstr()) == store.classes


def test_a_packed_file_holds_what_the_store_holds(cache, tmp_path):
    seen = []
    packed = tmp_path / "photos.h5"
    assert pack_store(cache, packed, callbacks=Recorder(seen)) == 25
    check_same(packed, cache)
    assert seen == [("packing", 25, 25, "images")]
    store = open_features(cache)
    with h5py.File(packed, "r") as file:
        assert json.loads(file.attrs["spec"]) == store.manifest.spec
        assert file.attrs["fingerprint"] == store.fingerprint and not file.attrs["random_weights"]
        assert json.loads(file.attrs["made_with"])["h5py"] == h5py.__version__
        assert file["features"].shape[1:] == FEATURE_SHAPE and file["features"].chunks is None
    check_hdf5_structure(packed)


def test_packing_in_small_parts_gives_the_same_bytes(cache, tmp_path, monkeypatch):
    pack_store(cache, tmp_path / "whole.h5")
    monkeypatch.setattr("pipeline.maintenance.pack.MAX_BYTES", 3 * open_features(cache).bytes_per_row)
    seen = []
    pack_store(cache, tmp_path / "parts.h5", callbacks=Recorder(seen))
    assert [done for _, done, *_ in seen] == [3, 6, 9, 12, 15, 18, 21, 24, 25]
    assert (tmp_path / "parts.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_rows_follow_the_index_and_not_the_shards(photos, tmp_path):
    cache = tmp_path / "cache"
    extract_features(photos, cache, compression="gzip")
    (photos / "cats" / "003.png").rename(photos / "dogs" / "zzz.png")
    (photos / "dogs" / "001.png").unlink()
    photo_folder(photos, 13)
    extract_features(photos, cache)
    pack_store(cache, tmp_path / "photos.h5")
    check_same(tmp_path / "photos.h5", cache)


def test_images_without_features_are_left_out(cache, tmp_path):
    manifest = read_manifest(cache)
    replace(manifest, shards=manifest.shards[1:]).write(cache)
    assert 0 < pack_store(cache, tmp_path / "photos.h5") < 25
    check_same(tmp_path / "photos.h5", cache)
    replace(manifest, shards=()).write(cache)
    with pytest.raises(StoreError, match="no image has features"):
        pack_store(cache, tmp_path / "none.h5")
    assert not (tmp_path / "none.h5").exists()


def test_a_file_that_is_no_packed_store_is_an_error_and_stays(cache, tmp_path):
    notes, other = tmp_path / "notes.txt", tmp_path / "other.h5"
    notes.write_text("mine")
    with h5py.File(other, "w") as file:
        file["mine"] = 1
    for path in (notes, other):
        before = path.read_bytes()
        with pytest.raises(StoreError, match="exists and is no packed store"):
            pack_store(cache, path)
        assert path.read_bytes() == before
    other.write_bytes(b"")
    assert pack_store(cache, other) == 25 == pack_store(cache, other)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("cache/shards/photos.h5", "inside the store"),
        ("cache/manifest.json", "inside the store"),
        ("photos", "is a directory"),
        ("none/photos.h5", "make it first"),
    ],
)
def test_a_path_where_no_file_can_be_written_is_an_error(cache, tmp_path, file, words):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=words):
        pack_store(cache, tmp_path / file)
    assert sorted(tmp_path.rglob("*")) == before


def write_older_file(path):
    with h5py.File(path, "w") as packed:
        packed.attrs["fingerprint"] = "old"
    return path.read_bytes()


def test_fault_09_a_damaged_shard_is_never_packed_and_the_old_file_stays(cache, tmp_path):
    old = write_older_file(tmp_path / "photos.h5")
    shard = sorted((cache / "shards").iterdir())[2]
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreDamaged, match="sha256"):
        pack_store(cache, tmp_path / "photos.h5")
    assert (tmp_path / "photos.h5").read_bytes() == old
    assert not list(tmp_path.glob(".tmp-*"))


def test_fault_03_a_packed_file_is_synced_then_named_then_its_directory_synced(cache, tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, real=real, name=name: calls.append(name) or real(*args))
    pack_store(cache, tmp_path / "photos.h5")
    assert calls == ["fsync", "replace", "fsync"]


FULL_DISK = """
import resource, sys
import h5py
from pathlib import Path
from pipeline.maintenance.pack import pack_store
cache, file = Path(sys.argv[1]), Path(sys.argv[2])
pack_store(cache, file)
whole = file.read_bytes()
with h5py.File(file, "w") as packed:
    packed.attrs["fingerprint"] = "old"
old = file.read_bytes()
for limit in range(0, len(whole), len(whole) // 40):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        pack_store(cache, file)
        sys.exit(f"no error at {limit} bytes")
    except OSError as error:
        assert error.strerror == "File too large" and error.filename == str(file), error
    assert file.read_bytes() == old and len(list(file.parent.iterdir())) == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
pack_store(cache, file)
assert file.read_bytes() == whole
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit for the size of files")
def test_fault_04_a_full_disk_is_an_os_error_at_any_write_and_no_crash_at_exit(cache, tmp_path):
    (tmp_path / "packed").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, cache, tmp_path / "packed" / "photos.h5"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # files of bytecode would be cut short by the limit
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_verb_packs_and_replaces(cache, tmp_path, capsys):
    packed = tmp_path / "photos.h5"
    write_older_file(packed)
    assert main(["pack", str(cache), str(packed)]) == 0
    assert "packed 25 of 26 images" in capsys.readouterr().out
    check_same(packed, cache)
    assert main(["pack", str(cache), str(cache / "x.h5")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
