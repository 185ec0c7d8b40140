"""Manifests, indices and shards whose checksums agree and whose contents must not be read or followed."""

import io
import tracemalloc
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import StoreDamaged, open_features
from pipeline.files.durable import sha256_of
from pipeline.images.table import NO_GROUP
from pipeline.store import BadRow
from pipeline.store.manifest import read_manifest
from tests.store.small_stores import SPEC


def shards_of(cache: Path) -> list[Path]:
    return sorted((cache / "shards").iterdir())


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
UNSAFE = {
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


@pytest.mark.parametrize("change", UNSAFE)
def test_fault_40_an_unsafe_shard_is_an_error_before_anything_is_read_or_allocated(cache, change):
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
        with pytest.raises(StoreDamaged, match=UNSAFE[change]) as caught:
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


def ids_that_overlap(file: h5py.File) -> None:
    file["images/id_ends"][1] = file["images/id_ends"][0] - 1


def ids_beyond_the_end(file: h5py.File) -> None:
    file["images/id_ends"][4] += 1


def no_groups(file: h5py.File) -> None:
    del file["images/groups"]


def test_an_index_of_a_version_without_groups_is_read(cache):
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
        (ids_that_overlap, "ids do not fit"),
        (ids_beyond_the_end, "ids do not fit"),
        (groups_that_are_no_numbers, "do not fit"),
        (no_ranges, "ranges"),
    ],
)
def test_fault_40_an_unsafe_or_inconsistent_index_is_an_error(cache, change, words):
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
def test_an_inconsistent_manifest_is_an_error(cache, changes, words):
    replace(read_manifest(cache), **changes).write(cache)
    with pytest.raises(StoreDamaged, match=words):
        open_features(cache)


def test_a_manifest_that_lists_rows_the_index_does_not_have_is_an_error(cache):
    manifest = read_manifest(cache)
    first, *rest = manifest.shards
    for wrong in (replace(first, stop=4), replace(first, bad=(BadRow(4, 2, "far"),))):
        replace(manifest, shards=(wrong, *rest)).write(cache)
        with pytest.raises(StoreDamaged, match="the index does not"):
            open_features(cache)
