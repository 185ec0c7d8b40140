"""Stage one on a fake conv base: what it computes, what it keeps, and which requests are errors."""

import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import pipeline
from pipeline import open_features, scan_images
from pipeline.cli.main import main
from pipeline.errors import SpecError, StoreBusy, StoreDamaged, StoreError, StoreMismatch
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.conv_base_loading import COMPARED
from pipeline.files.durable import read_json, write_json
from pipeline.images.augment import Augmentation
from pipeline.images.decode import decode_image
from pipeline.images.status import Status
from pipeline.store import open_for_writing, open_views
from tests.fakes import FEATURE_SHAPE, SPEC, FakeConvBase, extract_features, photo, photo_folder

pytestmark = pytest.mark.usefixtures("small_shards")


def expected(path: Path) -> np.ndarray:
    pixels = decode_image(path.read_bytes(), (8, 8))
    return pixels.reshape(2, 4, 2, 4, 3).mean(axis=(1, 3))


def check_rows(store, photos: Path) -> None:
    """Check that each image has its own features and label."""
    X, y = store.load()
    for row, label, id in zip(X, y, store.ids(), strict=True):
        assert row == pytest.approx(expected(photos / id), abs=1e-4)
        assert store.classes[label] == id.split("/")[0]


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def batches(monkeypatch) -> list[np.ndarray]:
    """The batches that go through the conv base."""
    batches, real = [], FakeConvBase.compute
    monkeypatch.setattr(FakeConvBase, "compute", lambda self, batch: batches.append(batch.copy()) or real(self, batch))
    return batches


def list_first_shards_only(cache: Path, count: int = 1) -> None:
    """Leave all but the first `count` shards of a store unlisted, as a killed run does."""
    with open_for_writing(cache) as writer:
        replace(writer.current.manifest, shards=writer.current.manifest.shards[:count]).write(cache)


@pytest.fixture
def filled(photos, cache):
    """The store below `cache`, filled with the features of `photos`."""
    return extract_features(scan_images(photos), cache)


def shards_of(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((cache / "shards").iterdir())}


def test_every_image_gets_its_own_features(photos, cache):
    store = extract_features(scan_images(photos), cache)
    assert store.feature_shape == FEATURE_SHAPE and FakeConvBase.seen == 20
    assert len(store.manifest.shards) == 3 and store.pending == 0 and store.bad == []
    check_rows(store, photos)
    train, validation = store.load("train"), store.load("validation")
    assert len(train[0]) + len(validation[0]) == 20 and len(store.load("test")[0]) == 0
    assert train[1].dtype == np.int32


def test_a_second_run_loads_nothing(photos, cache, filled):
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    store = extract_features(scan_images(photos), cache)
    assert FakeConvBase.loads == 1 and len(store.members()) == 20
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_fault_15_added_images_only_are_computed(photos, cache, filled):
    photo_folder(photos, 15)
    store = extract_features(scan_images(photos), cache)
    assert FakeConvBase.seen == 30
    check_rows(store, photos)


def test_fault_16_removed_images_leave_and_nothing_is_computed(photos, cache, filled):
    (photos / "cats" / "004.png").unlink()
    store = extract_features(scan_images(photos), cache)
    assert FakeConvBase.loads == 1 and len(store.members()) == 19
    check_rows(store, photos)


def test_fault_17_an_edited_image_is_computed_again(photos, cache, filled):
    (photos / "cats" / "004.png").write_bytes(photo(4242))
    store = extract_features(scan_images(photos), cache)
    assert FakeConvBase.seen == 21
    check_rows(store, photos)


def test_fault_18_renamed_moved_and_relabelled_images_cost_no_forward_pass(photos, cache, filled):
    (photos / "cats" / "004.png").rename(photos / "cats" / "zzz.png")
    (photos / "cats" / "005.png").rename(photos / "dogs" / "aaa.png")
    store = extract_features(scan_images(photos), cache)
    assert FakeConvBase.loads == 1
    check_rows(store, photos)


def test_fault_19_equal_images_cost_one_forward_pass_and_have_a_row_each(photos, cache):
    (photos / "cats" / "copy.png").write_bytes((photos / "cats" / "000.png").read_bytes())
    store = extract_features(scan_images(photos), cache)
    assert FakeConvBase.seen == 20 and len(store.load()[0]) == 21
    check_rows(store, photos)


def test_fault_20_a_renamed_class_updates_the_labels(photos, cache, filled):
    (photos / "cats").rename(photos / "tigers")
    store = extract_features(scan_images(photos), cache)
    assert store.classes == ("dogs", "tigers") and FakeConvBase.loads == 1
    check_rows(store, photos)


def test_fault_22_bad_images_are_listed_and_rows_do_not_shift(photos, cache):
    whole = photo(5, size=(64, 64), format="JPEG")
    (photos / "cats" / "0005.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "cats" / "003a.jpg").write_bytes(b"")
    (photos / "dogs" / "page.jpg").write_text("<html>")
    store = extract_features(scan_images(photos), cache)
    assert {bad.id for bad in store.bad} == {"cats/0005.jpg", "cats/003a.jpg", "dogs/page.jpg"}
    assert {bad.status for bad in store.bad} == {Status.UNDECODABLE} and all(bad.reason for bad in store.bad)
    assert len(store.load()[0]) == 20
    check_rows(store, photos)
    assert FakeConvBase.loads == 1
    extract_features(scan_images(photos), cache)
    assert FakeConvBase.loads == 1


def test_fault_36_features_that_do_not_fit_are_never_stored_as_good(photos, cache, monkeypatch):
    real = FakeConvBase.compute

    def compute(self, batch):
        features = real(self, batch)
        features[1, 0, 0, 0] = 1e6
        return features

    monkeypatch.setattr(FakeConvBase, "compute", compute)
    store = extract_features(scan_images(photos), cache, replace(SPEC, store_dtype="float16"))
    assert [bad.status for bad in store.bad] == [Status.NOT_FINITE] * 5
    assert np.isfinite(store.load()[0]).all() and len(store.load()[0]) == 15


class Interrupt(Callbacks):
    """Interrupts the run after some images."""

    def __init__(self, images: int):
        self.images = images

    def progress(self, step, done, total, unit) -> None:
        if done > self.images:
            raise KeyboardInterrupt


@pytest.mark.parametrize("images", [0, 1, 7, 8, 9, 15, 17, 19])
def test_fault_01_02_an_interrupted_run_goes_on_and_ends_with_the_same_shards(photos, tmp_path, images):
    extract_features(scan_images(photos), tmp_path / "whole")
    FakeConvBase.seen = 0
    with pytest.raises(KeyboardInterrupt):
        extract_features(scan_images(photos), tmp_path / "cache", callbacks=Interrupt(images))
    kept = len(open_features(tmp_path / "cache").members())
    assert kept >= max(0, images // 8 * 8 - 8 * (images % 8 == 0))
    FakeConvBase.seen = 0
    store = extract_features(scan_images(photos), tmp_path / "cache")
    assert FakeConvBase.seen == 20 - kept
    assert shards_of(tmp_path / "cache") == shards_of(tmp_path / "whole")
    check_rows(store, photos)


def test_shards_that_were_written_but_not_listed_are_not_computed_again(photos, cache, filled):
    list_first_shards_only(cache)
    FakeConvBase.seen = 0
    store = extract_features(scan_images(photos), cache)
    assert FakeConvBase.seen == 0 and store.pending == 0
    check_rows(store, photos)


def test_an_unlisted_shard_with_one_wrong_byte_is_computed_again(photos, cache, filled):
    whole = shards_of(cache)
    list_first_shards_only(cache)
    path = sorted((cache / "shards").iterdir())[1]
    with h5py.File(path, "r") as file:
        offset = file["features"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset + 5] ^= 1
    path.write_bytes(data)
    FakeConvBase.seen = 0
    extract_features(scan_images(photos), cache)
    assert FakeConvBase.seen == 8 and shards_of(cache) == whole


def test_fault_09_a_missing_or_short_shard_is_computed_again(photos, cache, filled):
    whole = shards_of(cache)
    first, second, _ = sorted((cache / "shards").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    with pytest.raises(StoreDamaged, match="000000"):
        open_features(cache).load()
    FakeConvBase.seen = 0
    store = extract_features(scan_images(photos), cache)
    assert FakeConvBase.seen == 16 and shards_of(cache) == whole
    check_rows(store, photos)


def test_fault_09_a_flipped_bit_is_never_read_as_a_number(photos, cache, filled):
    path = sorted((cache / "shards").iterdir())[0]
    whole = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(whole), 60):
        data = bytearray(whole)
        data[position] ^= 4
        path.write_bytes(data)
        with pytest.raises(StoreDamaged, match="sha256"):
            open_features(cache).load()


def test_fault_10_swapped_shards_are_an_error(photos, cache, filled):
    first, second, _ = sorted((cache / "shards").iterdir())
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    with pytest.raises(StoreDamaged):
        open_features(cache).load()


OTHER_SPECS = {
    "conv_base": "vgg19",
    "conv_base_args": {"alpha": 0.5},
    "weights_sha256": None,
    "size": (6, 8),
    "cut": "inner",
    "preprocessing": "rescale",
    "resize": "antialias",
    "decode": "scaled",
    "precision": "bfloat16",
    "store_dtype": "float16",
}


@pytest.mark.parametrize("field", OTHER_SPECS)
def test_fault_12_13_another_spec_is_an_error_that_names_the_field(photos, cache, field, filled):
    shards = shards_of(cache)
    changed = {"weights": "random"} if field == "weights_sha256" else {field: OTHER_SPECS[field]}
    with pytest.raises(StoreMismatch) as caught:
        extract_features(scan_images(photos), cache, replace(SPEC, **changed))
    assert [difference.field for difference in caught.value.differences] == [field]
    assert "--rebuild" in str(caught.value) and shards_of(cache) == shards


def test_fault_12_a_weights_file_that_changed_in_place_is_an_error(photos, cache, tmp_path):
    weights = tmp_path / "weights.h5"
    weights.write_text("abc")
    spec = replace(SPEC, weights=str(weights))
    extract_features(scan_images(photos), cache, spec)
    assert extract_features(scan_images(photos), cache, spec) and FakeConvBase.loads == 1
    weights.write_text("abd")
    with pytest.raises(StoreMismatch, match="weights_sha256"):
        extract_features(scan_images(photos), cache, spec)


def test_rebuild_starts_over_with_the_new_spec(photos, cache, filled):
    store = extract_features(scan_images(photos), cache, replace(SPEC, weights="random"), rebuild=True)
    assert store.random_weights and FakeConvBase.seen == 40
    check_rows(store, photos)


def test_the_error_of_bfloat16_on_the_first_images_is_in_the_manifest(photos, cache):
    (photos / "cats" / "000.png").write_bytes(b"no image")
    store = extract_features(scan_images(photos), cache, replace(SPEC, precision="bfloat16"))
    rows = sorted(zip(store.index.rows[store.members()].tolist(), store.ids(), strict=True))
    pixels = [decode_image((photos / id).read_bytes(), (8, 8)) for _, id in rows[:COMPARED]]
    error = open_features(cache).manifest.precision_error
    assert error == {"relative_l2": pytest.approx(float(np.mean(pixels)), rel=1e-6), "images": COMPARED}
    (photos / "dogs" / "new.png").write_bytes(photo(77))
    later = extract_features(scan_images(photos), cache, replace(SPEC, precision="bfloat16"))
    assert later.manifest.precision_error == error


@pytest.mark.parametrize(
    ("error", "asked", "settled"),
    [
        (0.04, "auto", "bfloat16"),
        (0.06, "auto", "float32"),
        (0.06, "bfloat16", "bfloat16"),
        (math.inf, "auto", "float32"),
        (math.inf, "bfloat16", "bfloat16"),
    ],
)
def test_auto_takes_float32_if_the_error_of_bfloat16_is_too_large(error, asked, settled, photos, cache, monkeypatch):
    monkeypatch.setattr(FakeConvBase, "auto", "bfloat16")
    monkeypatch.setattr(FakeConvBase, "error", error)
    store = extract_features(scan_images(photos), cache, replace(SPEC, precision=asked))
    assert store.spec.precision == settled
    assert store.manifest.precision_error == (
        {} if settled == "float32" or error == math.inf else {"relative_l2": error, "images": COMPARED}
    )
    loads = FakeConvBase.loads
    extract_features(scan_images(photos), cache, replace(SPEC, precision=asked))
    assert FakeConvBase.loads == loads


def test_float32_has_no_precision_error(photos, cache):
    assert extract_features(scan_images(photos), cache).manifest.precision_error == {}


def test_auto_precision_is_chosen_once(photos, cache):
    extract_features(scan_images(photos), cache, replace(SPEC, precision="bfloat16"))
    photo_folder(photos, 12)
    assert extract_features(scan_images(photos), cache).spec.precision == "bfloat16"


def test_fault_14_another_store_format_is_an_error(photos, cache, monkeypatch, filled):
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.store.manifest.FORMAT", 2)
        with pytest.raises(StoreError, match="store format 1, this version reads 2"):
            open_features(cache)


def test_fault_05_a_cache_that_is_a_file_is_an_error_before_anything_is_loaded(photos, cache):
    cache.write_text("mine")
    with pytest.raises(StoreError, match="not a directory"):
        extract_features(scan_images(photos), cache)
    assert FakeConvBase.loads == 0 and cache.read_text() == "mine"


def test_a_run_that_fails_before_anything_is_computed_leaves_no_directory(photos, cache):
    with pytest.raises(SpecError):
        extract_features(scan_images(photos), cache / "below", replace(SPEC, cut="nowhere"))
    assert not cache.exists()
    cache.mkdir()
    with pytest.raises(SpecError):
        extract_features(scan_images(photos), cache, replace(SPEC, cut="nowhere"))
    assert cache.is_dir()  # it was the user's


def test_a_store_without_its_manifest_is_rebuilt_beside_files_of_other_verbs(photos, cache, filled):
    (cache / "manifest.json").unlink()
    for name in ("duplicates.json", "report.html"):
        (cache / name).write_text("")
    check_rows(extract_features(scan_images(photos), cache, rebuild=True), photos)


def test_groups_of_a_csv_file_are_kept_in_the_store(photos, cache, tmp_path):
    def fill(group):
        rows = [f"photos/{name}/{i:03d}.png,{name},{group}{i % 5}" for name in ("cats", "dogs") for i in range(10)]
        (tmp_path / "list.csv").write_text("\n".join(["path,label,group", *rows]))
        return extract_features(scan_images(tmp_path / "list.csv"), cache)

    assert fill("").images.groups.tolist() == [0, 1, 2, 3, 4] * 4
    (tmp_path / "list.csv").write_text((tmp_path / "list.csv").read_text().replace(",4\n", ",\n"))
    extract_features(scan_images(tmp_path / "list.csv"), cache)
    assert open_features(cache).images.groups.tolist().count(-1) == 3 and FakeConvBase.loads == 1


def test_a_directory_with_other_files_is_an_error(photos, tmp_path):
    with pytest.raises(StoreError, match="holds cats and no store"):
        extract_features(scan_images(photos), photos)


def test_fault_07_a_second_writer_stops_and_names_the_first(photos, cache, filled):
    photo_folder(photos, 12)
    with open_for_writing(cache), pytest.raises(StoreBusy, match=f"process {os.getpid()}"):
        extract_features(scan_images(photos), cache)
    assert len(extract_features(scan_images(photos), cache).members()) == 24


def test_fault_08_a_reader_sees_complete_shards_only(photos, cache, monkeypatch):
    monkeypatch.setattr("pipeline.store.write_store.MIN_SECONDS", 0)
    monkeypatch.setattr("pipeline.store.write_store.MAX_SHARE", 1e9)  # the manifest is written for each shard
    seen = []

    class Read(Callbacks):
        def progress(self, step, done, total, unit) -> None:
            store = open_features(cache)
            seen.append(len(store.members()))
            check_rows(store, photos)

    extract_features(scan_images(photos), cache, callbacks=Read())
    assert set(seen) <= {0, 8, 16} and seen[-1] >= 8


def test_fault_04_an_error_while_writing_ends_the_run_and_the_next_goes_on(photos, cache, monkeypatch):
    real, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 12:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        extract_features(scan_images(photos), cache)
    check_rows(extract_features(scan_images(photos), cache), photos)


def test_an_image_that_changes_while_the_run_reads_it_is_left_out_and_tried_again(photos, cache):
    images = scan_images(photos)
    (photos / "cats" / "004.png").write_bytes(photo(4242))
    store = extract_features(images, cache)
    assert [bad.status for bad in store.bad] == [Status.UNREADABLE]
    store = extract_features(scan_images(photos), cache)
    assert store.bad == []
    check_rows(store, photos)


def test_a_moved_store_means_the_same(photos, cache, tmp_path, filled):
    cache.rename(tmp_path / "elsewhere")
    check_rows(open_features(tmp_path / "elsewhere"), photos)


def test_a_compressed_store_reads_the_same(photos, cache):
    store = extract_features(scan_images(photos), cache, compression="gzip")
    check_rows(store, photos)
    check_rows(open_features(cache), photos)


def test_fault_32_odd_names_come_back_from_the_store(photos, cache):
    names = [b"new\nline.png", "émoji 🐈.png".encode(), b"latin\xe9.png", b"a, b.png"]
    for number, name in enumerate(names):
        (photos / "cats" / os.fsdecode(name)).write_bytes(photo(600 + number))
    extract_features(scan_images(photos), cache)
    store = open_features(cache)
    assert {"cats/" + os.fsdecode(name) for name in names} <= set(store.ids())
    check_rows(store, photos)


def test_batches_have_one_shape(photos, cache, batches):
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    extract_features(scan_images(photos), cache)
    assert {batch.shape for batch in batches} == {(4, 8, 8, 3)}


def test_a_shard_can_be_read_by_any_hdf5_reader(photos, cache):
    store = extract_features(scan_images(photos), cache)
    with h5py.File(next((cache / "shards").iterdir()), "r") as file:
        assert set(file) == {"features", "status", "crc32", "ids"}
        assert file["features"].shape[1:] == FEATURE_SHAPE and file["features"].chunks is None
        assert file.attrs["fingerprint"] == store.fingerprint


def test_too_little_disk_space_is_an_error_before_anything_is_computed(photos, cache, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(StoreError, match=r"needs 0\.0 GB for 20 images"):
        extract_features(scan_images(photos), cache)
    assert FakeConvBase.seen == 0


def test_a_file_too_large_to_be_an_image_is_not_read_into_memory(photos, cache, monkeypatch):
    monkeypatch.setattr("pipeline.extraction.decode_ahead.MAX_BYTES", 5000)
    (photos / "cats" / "huge.png").write_bytes(photo(5) + bytes(5000))
    store = extract_features(scan_images(photos), cache)
    assert [(bad.id, bad.status) for bad in store.bad] == [("cats/huge.png", Status.TOO_LARGE)]


def test_a_rebuild_that_cannot_begin_leaves_the_store_as_it_was(photos, cache, filled):
    whole = shards_of(cache)
    with pytest.raises(SpecError):
        extract_features(scan_images(photos), cache, replace(SPEC, cut="nowhere"), rebuild=True)
    assert shards_of(cache) == whole
    check_rows(open_features(cache), photos)


def test_fault_30_a_file_without_permission_is_status_3_and_is_tried_again(photos, cache, monkeypatch):
    def open_with_one_denied(path, *arguments, **options):  # root, who may run this test, may read every file
        if str(path).endswith("cats/004.png"):
            raise PermissionError(13, "Permission denied")
        return open(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.images.content_hashes.open", open_with_one_denied, raising=False)
        store = extract_features(scan_images(photos), cache)
    assert [(bad.id, bad.status) for bad in store.bad] == [("cats/004.png", Status.UNREADABLE)]
    assert len(store.load()[0]) == 19
    store = extract_features(scan_images(photos, known=store.images), cache)
    assert store.bad == [] and FakeConvBase.seen == 20
    check_rows(store, photos)


@pytest.mark.parametrize("fault", ["one too few", "one twice"])
def test_a_row_without_a_result_is_an_error_and_not_zeros(photos, tmp_path, fake_conv_base, monkeypatch, fault):
    real = pipeline.extraction.compute_shards.compute_tasks

    def compute_tasks(*args, **options):
        rows = list(real(*args, **options))[:8]
        yield from rows[:-1] if fault == "one too few" else [*rows[:-1], rows[-2]]

    monkeypatch.setattr("pipeline.extraction.compute_shards.compute_tasks", compute_tasks)
    with pytest.raises(StoreError, match="1 of rows 0 to 8 were not computed"):
        extract_features(scan_images(photos), tmp_path / "cache")
    assert open_features(tmp_path / "cache").pending == 20


def test_a_bad_image_changes_no_batch_and_no_byte_of_later_shards(photos, cache, tmp_path, batches):
    extract_features(scan_images(photos), cache)
    expected, batches[:] = batches[:], []
    (photos / "cats" / "003.png").write_bytes(b"no image")  # a row of the first shard
    extract_features(scan_images(photos), tmp_path / "with a bad image")
    assert len(batches) == len(expected) == 5  # two for each shard of eight rows, one for the last four rows
    assert all(np.array_equal(*pair) for pair in zip(batches[2:], expected[2:], strict=True))
    names = sorted(path.name for path in (cache / "shards").iterdir())
    assert shards_of(cache)[names[0]] != shards_of(tmp_path / "with a bad image")[names[0]]
    assert all(shards_of(cache)[name] == shards_of(tmp_path / "with a bad image")[name] for name in names[1:])


@pytest.mark.parametrize(("batch_size", "shape"), [(3, 3), (5, 4), (32, 8)])
def test_the_images_of_a_shard_fill_its_batches(photos, cache, batches, batch_size, shape):
    """A batch ends with its shard: of eight rows, five and three would cost as much as five and five."""
    store = extract_features(scan_images(photos), cache, batch_size=batch_size)
    assert {len(batch) for batch in batches} == {shape}
    check_rows(store, photos)


def test_augmentation_settings_without_views_are_an_error_on_a_new_store(photos, cache):
    with pytest.raises(StoreError, match=r"^augmentation settings .* no augmented views.*--views K"):
        extract_features(scan_images(photos), cache, augmentation=Augmentation(rotation=10))
    assert FakeConvBase.loads == 0 and not cache.exists()
    extract_features(scan_images(photos), cache)
    with pytest.raises(StoreError, match="--views K"):
        extract_features(scan_images(photos), cache, augmentation=Augmentation(rotation=10))


def test_augmentation_settings_are_compared_with_the_views_of_a_store(photos, cache):
    extract_features(scan_images(photos), cache, views=2, augmentation=Augmentation(rotation=10))
    assert len(open_views(extract_features(scan_images(photos), cache, augmentation=Augmentation(rotation=10)))) == 1
    with pytest.raises(StoreMismatch, match=r"view\.rotation"):
        extract_features(scan_images(photos), cache, augmentation=Augmentation(rotation=20))


def test_augment_without_views_ends_the_command_with_status_2_and_one_line(photos, cache, capsys):
    assert main(["features", str(photos), "--cache", str(cache), "--size", "8", "--augment", "rotation=10"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--views K" in line and not cache.exists()


def with_library_versions(monkeypatch, number: str) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: number)


def versions_of_shards(store) -> list[str]:
    return [store.manifest.makers[shard.maker]["keras"] for shard in store.manifest.shards]


def test_each_shard_has_the_versions_that_made_it(photos, cache, monkeypatch):
    with_library_versions(monkeypatch, "1.0")
    extract_features(scan_images(photos), cache)
    with_library_versions(monkeypatch, "2.0")
    extract_features(scan_images(photos), cache)  # a no-op
    assert open_features(cache).manifest.later_makers == ()
    photo_folder(photos, 12)
    extract_features(scan_images(photos), cache)
    store = open_features(cache)
    assert versions_of_shards(store) == ["1.0", "1.0", "1.0", "2.0"]
    assert store.manifest.made_with["keras"] == "1.0" and len(store.manifest.later_makers) == 1


def test_a_shard_that_a_killed_run_left_has_the_versions_of_that_run(photos, cache, monkeypatch):
    with_library_versions(monkeypatch, "1.0")
    extract_features(scan_images(photos), cache)
    with_library_versions(monkeypatch, "2.0")
    photo_folder(photos, 20)
    extract_features(scan_images(photos), cache)
    list_first_shards_only(cache, 4)
    sorted((cache / "shards").iterdir())[5].unlink()
    with_library_versions(monkeypatch, "3.0")
    versions = versions_of_shards(extract_features(scan_images(photos), cache))
    assert versions == ["1.0", "1.0", "1.0", "2.0", "2.0", "3.0"]


def test_a_manifest_from_before_shards_had_versions_is_read(photos, cache, filled):
    document = read_json(cache / "manifest.json")
    del document["later_makers"]
    for shard in document["shards"]:
        del shard["maker"]
    write_json(cache / "manifest.json", document)
    manifest = open_features(cache).manifest
    assert [manifest.makers[shard.maker] for shard in manifest.shards] == [manifest.made_with] * 3
