"""The cache on disk: what is written comes back, one writer at a time, nothing of a stranger's is trusted."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import ConvBaseSpec, StoreBusy, StoreDamaged, StoreError, open_features
from pipeline.files.durable import TEMPORARY, canonical_json, sha256_of
from pipeline.images.status import Status
from pipeline.images.table import COLUMNS, NO_GROUP, ImageTable, Skipped
from pipeline.store import NO_ROW, BadRow, Index, Manifest, ShardContent, ShardDamaged, open_for_writing
from pipeline.store.index import read_index
from pipeline.store.manifest import read_manifest
from pipeline.store.shard_file import build_shard

ROOT = Path(__file__).parent.parent.parent
ROW = (2, 2, 3)
SPEC = ConvBaseSpec(size=8, precision="float32", decoder="pillow-1", weights_sha256="1" * 64)
ODD = [b"cats/new\nline.png", b"cats/latin\xe9.png", 'cats/émoji 🐈, "a".png'.encode(), b"dogs/ ", b"dogs/b.png"]


def table(names: list[bytes]) -> ImageTable:
    n = len(names)
    return ImageTable(
        root=Path("/photos"),
        ids=[os.fsdecode(name) for name in names],
        labels=np.arange(n, dtype=np.int32) % 2 - (n > 4),
        split_codes=(np.arange(n) % 3).astype(np.int8),
        classes=("cats", "dögs\n"),
        sizes=np.arange(n, dtype=np.int64) << 33,
        mtimes=np.arange(n, dtype=np.int64) + 1_700_000_000_000_000_000,
        contents=np.random.default_rng(n).integers(0, 256, (n, 32), np.uint8),
        readable=np.arange(n) != 1,
        groups=np.arange(n, dtype=np.int32) // 2 - 1,
        skipped=[Skipped(os.fsdecode(b"\xff.txt"), "is no image")],
    )


def index_of(names: list[bytes], rows_per_shard: int = 2) -> Index:
    images = table(names)
    starts = np.arange(0, len(names), rows_per_shard, dtype=np.int64)
    ranges = np.stack([starts, np.minimum(starts + rows_per_shard, len(names))], axis=1)
    return Index(images, np.arange(len(names), dtype=np.int64), images.contents, ranges)


def content_of(index: Index, start: int, stop: int) -> ShardContent:
    features = np.random.default_rng(start).normal(size=(stop - start, *ROW)).astype(np.float16)
    return ShardContent(start, features, np.full(stop - start, Status.OK, np.uint8), index.contents[start:stop])


def manifest_of(**changes) -> Manifest:
    manifest = Manifest(
        spec=SPEC.identity(),
        fingerprint=SPEC.fingerprint,
        feature_shape=ROW,
        sources={"conv_base": "vgg16", "weights": "imagenet"},
        rows_per_shard=2,
        images={"root": "/photos"},
    )
    return replace(manifest, **changes)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Five images of odd names in three shards."""
    index = index_of(ODD)
    with open_for_writing(tmp_path / "cache") as writer:
        writer.begin(manifest_of(), index)
        for start, stop in index.ranges.tolist():
            writer.put_shard(content_of(index, start, stop), ())
    return tmp_path / "cache"


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def shards_of(cache: Path) -> list[Path]:
    return sorted((cache / "shards").iterdir())


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
def test_contents_of_another_dtype_are_refused(where):
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


def test_fault_08_an_index_that_stays_away_is_named(cache, monkeypatch):
    monkeypatch.setattr("pipeline.store.open_store.time.sleep", lambda seconds: None)
    index = cache / read_manifest(cache).index
    index.unlink()
    with pytest.raises(StoreDamaged, match=f"{index.name} is missing; .*--rebuild"):
        open_features(cache)


HOLD = """
import sys, time
from pathlib import Path
from pipeline.store import open_for_writing
with open_for_writing(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_fault_07_the_second_writer_names_the_first_and_touches_nothing_until_that_is_killed(cache):
    (cache / "shards" / f"{TEMPORARY}half").write_bytes(b"half")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, cache], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert holder.stdout.readline() == b"held\n"
        (cache / "shards" / f"{TEMPORARY}new").write_bytes(b"being written")
        before = contents_of(cache)
        with pytest.raises(StoreBusy, match=f"process {holder.pid} on .* since"), open_for_writing(cache):
            pass
        assert contents_of(cache) == before
        assert len(open_features(cache).members()) == 5
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with open_for_writing(cache) as writer:
            assert writer.current.pending == 0
    finally:
        holder.kill()
        holder.communicate()
    assert not list(cache.rglob(f"{TEMPORARY}*")) and not (cache / ".writer.json").exists()


def test_fault_07_a_killed_holder_is_not_named_for_the_one_that_has_not_written_its_name_yet(cache):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with open_for_writing(cache):
        name = json.loads((cache / ".writer.json").read_text())
        for pid, words in ((gone.pid, "by another process"), (os.getpid(), f"by process {os.getpid()}")):
            (cache / ".writer.json").write_text(json.dumps({**name, "pid": pid}))
            with pytest.raises(StoreBusy, match=words), open_for_writing(cache):
                pass


def test_fault_05_a_directory_that_cannot_be_written_to_is_an_error(cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"mine")
    with (
        pytest.raises(StoreError, match="file/x is not a directory"),
        open_for_writing(tmp_path / "file/x"),
    ):
        pass

    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    before = contents_of(cache)
    monkeypatch.setattr("pipeline.files.lock.FileLock.acquire", refuse)
    with pytest.raises(StoreError, match="cannot be written to: Permission denied"), open_for_writing(cache):
        pass
    assert contents_of(cache) == before and len(open_features(cache).members()) == 5


def test_fault_06_left_over_temporaries_are_removed_and_nothing_else(cache):
    before = contents_of(cache)
    for folder in (cache, cache / "shards"):
        (folder / f"{TEMPORARY}half").write_bytes(b"half")
    with open_for_writing(cache):
        pass
    assert contents_of(cache) == before


def test_quarantine_is_the_stores_own_and_stays(cache):
    with open_for_writing(cache) as writer:
        writer.quarantine(writer.current.manifest.shards[:1])
    (cache / "manifest.json").unlink()
    with open_for_writing(cache) as writer:
        assert writer.store is None
    assert len(list((cache / "quarantine").iterdir())) == 1


def test_fault_09_a_shard_that_changes_after_it_was_checked_is_not_read(cache):
    """The file changes after it was opened and found good."""
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


# A stranger's store: whatever its files hold, manifest and checksums agree with them.


def external_link(file: h5py.File) -> None:
    del file["features"]
    file["features"] = h5py.ExternalLink("/etc/other.h5", "/secret")


def soft_link(file: h5py.File) -> None:
    file.move("features", "elsewhere")
    file["features"] = h5py.SoftLink("/elsewhere")


def external_storage(file: h5py.File) -> None:
    shape = file["features"].shape
    del file["features"]
    file.create_dataset("features", shape, "f2", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual_dataset(file: h5py.File) -> None:
    shape = file["features"].shape
    del file["features"]
    layout = h5py.VirtualLayout(shape, "f2")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "a", shape)
    file.create_virtual_dataset("features", layout)


def unknown_filter(file: h5py.File) -> None:
    shape = file["features"].shape
    del file["features"]
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk(shape)
    creation.set_filter(32099, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(file.id, b"features", h5py.h5t.IEEE_F16LE, h5py.h5s.create_simple(shape), creation)


def huge_shape(file: h5py.File) -> None:
    del file["features"]
    file.create_dataset("features", (2, *HUGE), "f2")


HUGE = (2**16, 2**20)
HOSTILE = {
    external_link: "/features is a link to another place or file",
    soft_link: "/features is a link to another place or file",
    external_storage: "/features keeps its values in another file",
    virtual_dataset: "/features is a virtual dataset",
    unknown_filter: "/features is compressed with filter 32099",
    huge_shape: "its datasets declare 274,877,9",
}


def edited(data: bytes, change) -> bytes:
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as opened:
        change(opened)
    return file.getvalue()


@pytest.mark.parametrize("change", HOSTILE)
def test_fault_40_a_hostile_shard_is_refused_before_anything_is_read_or_allocated(cache, change):
    path = shards_of(cache)[0]
    path.write_bytes(edited(path.read_bytes(), change))
    manifest, data = read_manifest(cache), path.read_bytes()
    first, *rest = manifest.shards
    first = replace(first, bytes=len(data), sha256=sha256_of(data))
    shape = HUGE if change is huge_shape else manifest.feature_shape
    replace(manifest, shards=(first, *rest), feature_shape=shape).write(cache)
    store = open_features(cache)
    tracemalloc.start()
    try:
        with pytest.raises(StoreDamaged, match=HOSTILE[change]) as caught:
            store.load()
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


def put_index(cache: Path, data: bytes) -> Path:
    manifest, sha256 = read_manifest(cache), sha256_of(data)
    path = cache / f"index-{sha256[:12]}.h5"
    path.write_bytes(data)
    replace(manifest, index=path.name, index_sha256=sha256).write(cache)
    return path


def linked_index(file: h5py.File) -> None:
    del file["contents"]
    file["contents"] = h5py.ExternalLink("/etc/other.h5", "/secret")


def huge_index(file: h5py.File) -> None:
    del file["images/rows"]
    file.create_dataset("images/rows", (2**40,), "i8")


def row_outside(file: h5py.File) -> None:
    file["images/rows"][0] = 5


def label_outside(file: h5py.File) -> None:
    file["images/labels"][0] = 2


def gap_between_ranges(file: h5py.File) -> None:
    file["ranges"][1, 0] = 3


def groups_that_are_no_numbers(file: h5py.File) -> None:
    del file["images/groups"]
    file["images/groups"] = np.zeros(5, np.float32)


def too_few_labels(file: h5py.File) -> None:
    del file["images/labels"]
    file["images/labels"] = np.zeros(4, np.int32)


def no_groups(file: h5py.File) -> None:
    del file["images/groups"]


def test_an_index_of_a_version_that_kept_no_groups_is_read(cache):
    before = open_features(cache).images
    put_index(cache, edited((cache / read_manifest(cache).index).read_bytes(), no_groups))
    images = open_features(cache).images
    assert images.groups.tolist() == [NO_GROUP] * len(before) and images.ids == before.ids


def no_ranges(file: h5py.File) -> None:
    del file["ranges"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (linked_index, "/contents is a link"),
        (huge_index, "declare 8,796"),
        (row_outside, "do not fit"),
        (label_outside, "do not fit"),
        (gap_between_ranges, "do not fit"),
        (too_few_labels, "do not fit"),
        (groups_that_are_no_numbers, "do not fit"),
        (no_ranges, "ranges"),
    ],
)
def test_fault_40_a_hostile_or_senseless_index_is_refused(cache, change, words):
    path = put_index(cache, edited((cache / read_manifest(cache).index).read_bytes(), change))
    with pytest.raises(StoreDamaged, match=words) as caught:
        open_features(cache)
    assert str(path) in str(caught.value)


OTHER_SPEC = {**SPEC.identity(), "size": [9, 9]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"index": "../../etc/passwd"}, "is no index"),
        ({"index": "/dev/zero"}, "is no index"),
        ({"spec": OTHER_SPEC}, "fingerprint is not that of its spec"),
        ({"spec": {}, "fingerprint": sha256_of(b"{}")}, "is not the manifest of a store"),
        ({"sources": {}}, "conv_base"),
        ({"images": {}}, "root"),
        ({"feature_shape": (2, -1)}, "features of shape"),
        ({"rows_per_shard": 0}, "0 to a shard"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(cache, changes, words):
    replace(read_manifest(cache), **changes).write(cache)
    with pytest.raises(StoreDamaged, match=words):
        open_features(cache)


def test_a_manifest_that_lists_rows_the_index_has_not_is_refused(cache):
    manifest = read_manifest(cache)
    first, *rest = manifest.shards
    for wrong in (replace(first, stop=4), replace(first, bad=(BadRow(4, 2, "far"),))):
        replace(manifest, shards=(wrong, *rest)).write(cache)
        with pytest.raises(StoreDamaged, match="the index does not"):
            open_features(cache)


def test_the_fingerprint_is_that_of_the_spec():
    assert sha256_of(canonical_json(manifest_of().spec).encode()) == SPEC.fingerprint


def test_the_crc32_of_a_row_is_that_of_its_bytes(cache):
    with h5py.File(shards_of(cache)[0], "r") as file:
        assert file["crc32"][:].tolist() == [zlib.crc32(row.tobytes()) for row in file["features"][:]]
