"""`verify` finds and names what is wrong with a store; `repair` computes exactly that again."""

import os
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import pipeline
from pipeline import ConvBaseSpec, SpecError, StoreBusy, StoreDamaged, StoreError, StoreMismatch, open_features
from pipeline.cli.main import main
from pipeline.files.durable import sha256_of, write_json
from pipeline.images.scan import scan_images
from pipeline.images.status import Status
from pipeline.maintenance.repair import repair_store
from pipeline.maintenance.verify import Finding, relative_l2, verify_store
from pipeline.store import open_for_writing
from pipeline.store.manifest import read_manifest
from pipeline.text import COMMAND
from tests.fakes import FakeConvBase, Recorder, photo, photo_folder

pytestmark = pytest.mark.usefixtures("small_shards")
SPEC = ConvBaseSpec(size=(8, 8))


@pytest.fixture
def cache(photos, tmp_path) -> Path:
    """A store of twenty good rows in three shards and a bad one."""
    (photos / "cats" / "0005.jpg").write_bytes(b"")
    extract_features(photos, tmp_path / "cache")
    FakeConvBase.seen = FakeConvBase.loads = 0
    return tmp_path / "cache"


def extract_features(photos: Path, cache: Path, spec: ConvBaseSpec = SPEC, **options):
    return pipeline.extract_features(scan_images(photos), cache, spec, batch_size=4, **options)


def shards_of(cache: Path) -> list[Path]:
    return sorted((cache / "shards").iterdir())


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def forge(path: Path, change) -> None:
    """Change a shard and the manifest with it, as an attacker or a wrong program might."""
    with h5py.File(path, "r+") as file:
        change(file)
    relist(path)


def relist(path: Path) -> None:
    cache = path.parent.parent
    manifest, data = read_manifest(cache), path.read_bytes()
    start = int(path.name[:10])
    entries = (
        replace(entry, bytes=len(data), sha256=sha256_of(data)) if entry.start == start else entry
        for entry in manifest.shards
    )
    replace(manifest, shards=tuple(entries)).write(cache)


def add_head(cache: Path, **changes) -> Path:
    store = open_features(cache)
    directory = cache / "heads" / "ridge"
    directory.mkdir(parents=True)
    (directory / "model-1.skops").write_bytes(b"model")
    record = {
        "model": "model-1.skops",
        "sha256": sha256_of(b"model"),
        "classes": list(store.classes),
        "fingerprint": store.fingerprint,
    }
    write_json(directory / "head.json", {**record, **changes})
    return directory


def problem(findings: list[Finding], what: str) -> str:
    """Return the problem of the only finding, which must be about `what`."""
    assert [finding.what for finding in findings] == [what]
    return findings[0].problem


def test_nothing_is_found_in_a_good_store_and_nothing_changes(photos, cache):
    add_head(cache)
    before = contents_of(cache)
    seen, errors = [], []
    assert verify_store(cache, full=True, recompute=100, sources=True, callbacks=Recorder(seen, errors)) == []
    assert contents_of(cache) == before
    assert errors == [(20, 0.0)] and FakeConvBase.seen == 20
    assert {("checking", 3, 3, "shards"), ("computing again", 20, 20, "rows"), ("reading", 21, 21, "images")} <= set(
        seen
    )


def test_no_store_is_an_error_and_makes_none(tmp_path):
    for check in (verify_store, repair_store):
        with pytest.raises(StoreError, match="no store"):
            check(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_fault_09_a_missing_or_short_shard_is_found_by_the_quick_check(cache):
    first, second, third = shards_of(cache)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    third.unlink()
    third.mkdir()
    findings = verify_store(cache)
    assert [finding.what for finding in findings] == [f"shards/{path.name}" for path in (first, second, third)]
    assert findings[0].problem == "is missing" and "bytes, not" in findings[1].problem
    assert "cannot be read" in findings[2].problem


def test_fault_09_every_flipped_bit_is_found_by_the_full_check(cache):
    path = shards_of(cache)[1]
    whole = path.read_bytes()
    for position in np.random.default_rng(1).integers(0, len(whole), 40).tolist():
        flip(path, position)
        assert "sha256" in problem(verify_store(cache, full=True), f"shards/{path.name}")
        path.write_bytes(whole)


def test_fault_10_swapped_shards_are_found_by_the_quick_check(photos, cache, tmp_path):
    first, second, third = shards_of(cache)
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    findings = verify_store(cache)
    assert [finding.what for finding in findings] == [f"shards/{path.name}" for path in (first, second)]
    assert "start is 8, not 0" in findings[0].problem or "bytes" in findings[0].problem
    first.write_bytes(contents[0])
    second.write_bytes(contents[1])
    extract_features(photos, tmp_path / "other", replace(SPEC, weights="random"))
    shutil.copy(tmp_path / "other" / "shards" / third.name, third)
    assert "its fingerprint is" in problem(verify_store(cache), f"shards/{third.name}")


def test_wrong_rows_under_a_right_sha256_are_found(cache):
    """The manifest agrees with the shard, but the rows of the shard contradict one another."""

    def damage(file):
        file["features"][2] += 1

    def not_finite(file):
        file["features"][2] = np.nan
        file["crc32"][2] = crc32(file, 2)

    def not_zero(file):
        file["features"][bad] = 1
        file["crc32"][bad] = crc32(file, bad)

    def other_status(file):
        file["status"][2] = Status.TOO_LARGE

    def unknown_status(file):
        file["status"][2] = 77

    def crc32(file, row):
        return zlib.crc32(file["features"][row].tobytes())

    path = shards_of(cache)[0]
    whole, manifest = path.read_bytes(), (cache / "manifest.json").read_bytes()
    bad = read_manifest(cache).shards[0].bad[0].row
    expected = {
        damage: "row 2 is not what was written",
        not_finite: "row 2 is marked OK and is not finite",
        not_zero: f"row {bad} has features and is marked undecodable",
        other_status: "other rows as bad than the manifest",
        unknown_status: "unknown status",
    }
    for change, words in expected.items():
        forge(path, change)
        assert words in problem(verify_store(cache, full=True), f"shards/{path.name}")
        path.write_bytes(whole)
        (cache / "manifest.json").write_bytes(manifest)


def test_files_that_are_not_listed_and_waiting_images_are_found(photos, cache):
    (cache / "shards" / "stray.h5").write_bytes(b"")
    (cache / "shards" / ".tmp-half").write_bytes(b"")
    manifest = read_manifest(cache)
    replace(manifest, shards=manifest.shards[:2]).write(cache)
    findings = {finding.what: finding.problem for finding in verify_store(cache)}
    assert "killed" in findings["shards/.tmp-half"] and "not listed" in findings["shards/stray.h5"]
    assert "not listed" in findings[f"shards/{manifest.shards[2].start:010d}-{manifest.shards[2].stop:010d}.h5"]
    assert findings["index"] == "5 of 21 images wait for features" and len(findings) == 4
    extract_features(photos, cache)
    assert verify_store(cache, full=True) == [] and FakeConvBase.seen == 0


def test_heads_that_are_damaged_are_found(cache):
    directory = add_head(cache)
    (directory / "model-1.skops").write_bytes(b"mOdel")
    assert verify_store(cache) == []
    assert "sha256" in problem(verify_store(cache, full=True), "heads/ridge")
    (directory / "model-1.skops").unlink()
    assert "model-1.skops is missing" in problem(verify_store(cache), "heads/ridge")
    flip(directory / "head.json", 30)
    assert "head.json" in problem(verify_store(cache), "heads/ridge")
    (directory / "head.json").unlink()
    assert "never saved" in problem(verify_store(cache), "heads/ridge")


def test_fault_20_a_head_of_other_classes_is_found(photos, cache):
    add_head(cache)
    (photos / "cats").rename(photos / "tigers")
    extract_features(photos, cache)
    words = problem(verify_store(cache), "heads/ridge")
    assert words == "was trained on the classes cats, dogs; the store has dogs, tigers"


def test_fault_21_a_head_of_another_store_is_found_with_both_fingerprints(cache):
    add_head(cache, fingerprint="ab" * 32)
    words = problem(verify_store(cache), "heads/ridge")
    assert "abababababab" in words and open_features(cache).fingerprint[:12] in words


@pytest.mark.parametrize(
    ("precision", "factor", "findings"),
    [("float32", 1.0004, 3), ("float16", 1.004, 0), ("float16", 1.02, 3), ("bfloat16", 1.02, 0), ("bfloat16", 1.1, 3)],
)
def test_recomputed_rows_that_differ_by_more_than_their_precision_allows_are_found(
    photos, tmp_path, monkeypatch, precision, factor, findings
):
    extract_features(photos, tmp_path / "cache", replace(SPEC, precision=precision, store_dtype="float32"))
    real = FakeConvBase.compute
    monkeypatch.setattr(FakeConvBase, "compute", lambda self, batch: real(self, batch) * np.float32(factor))
    errors = []
    found = verify_store(tmp_path / "cache", recompute=3, callbacks=Recorder([], errors))
    assert len(found) == findings and all("differ by" in finding.problem for finding in found)
    assert errors == [(3, pytest.approx(factor - 1, rel=0.1))]


def test_the_error_is_relative_to_the_row():
    row = np.array([3.0, 4.0], np.float16)
    assert relative_l2(row, row) == 0
    assert relative_l2(np.array([3.0, 4.5], np.float16), row) == pytest.approx(0.1)
    assert relative_l2(row, 0 * row) == 5


def test_recomputing_leaves_damaged_shards_to_the_other_checks(cache):
    path = shards_of(cache)[0]
    flip(path, len(path.read_bytes()) - 1)
    assert "sha256" in problem(verify_store(cache, full=True, recompute=100), f"shards/{path.name}")
    assert {finding.what for finding in verify_store(cache, recompute=100)} == {f"shards/{path.name}"}


def test_a_weights_file_that_changed_is_a_finding_and_stops_repair(photos, tmp_path):
    weights, cache = tmp_path / "weights.h5", tmp_path / "cache"
    weights.write_text("abc")
    extract_features(photos, cache, replace(SPEC, weights=str(weights)))
    shards_of(cache)[0].unlink()
    before = contents_of(cache)
    weights.write_text("abd")
    assert "weights_sha256" in verify_store(cache, recompute=1)[1].problem
    with pytest.raises(StoreMismatch, match=r"put back what .*weights\.h5 was"):
        repair_store(cache)
    assert contents_of(cache) == before


def test_a_conv_base_that_cannot_be_loaded_is_a_finding(cache, monkeypatch):
    def fail(spec):
        raise SpecError("no such file")

    monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", fail)
    assert problem(verify_store(cache, recompute=1), "conv base") == "no such file"


def test_fault_17_an_edit_with_size_and_time_restored_is_found_by_sources(photos, cache):
    path = photos / "cats" / "004.png"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert verify_store(cache, full=True) == []
    findings = verify_store(cache, sources=True)
    assert "not the image" in problem(findings, "cats/004.png") and "touch" in findings[0].remedy
    assert {finding.what for finding in verify_store(cache, recompute=100)} == {"cats/004.png"}


def test_missing_images_are_found_by_sources(photos, cache):
    (photos / "cats" / "004.png").unlink()
    assert problem(verify_store(cache, sources=True), "cats/004.png") == "is missing"
    photos.rename(photos.parent / "elsewhere")
    assert "none of the images" in problem(verify_store(cache, sources=True), str(photos))


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_fault_09_repair_computes_only_the_bad_shard_again_and_writes_the_same_bytes(photos, tmp_path, compression):
    cache = tmp_path / "cache"
    extract_features(photos, cache, compression=compression)
    whole, damaged = contents_of(cache), shards_of(cache)[1]
    FakeConvBase.seen = 0
    flip(damaged, 3000)
    bad = damaged.read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in shards_of(cache) if path != damaged}
    report = repair_store(cache)
    assert FakeConvBase.seen == 8 == report.rows and list(report.problems) == [damaged.name]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert report.quarantined == [cache / "quarantine" / damaged.name] and report.lost == []
    assert report.quarantined[0].read_bytes() == bad
    report.quarantined[0].unlink()
    assert contents_of(cache) == whole and verify_store(cache, full=True) == []


def test_repair_of_a_good_store_loads_nothing_and_changes_nothing(cache):
    before = contents_of(cache)
    assert repair_store(cache).problems == {}
    assert FakeConvBase.loads == 0 and contents_of(cache) == before


def test_repair_never_overwrites_what_is_in_quarantine(cache):
    path = shards_of(cache)[0]
    whole = path.read_bytes()
    for number in range(3):
        path.write_bytes(b"bad %d" % number)
        repair_store(cache)
    assert sorted(kept.read_bytes() for kept in (cache / "quarantine").iterdir()) == [b"bad 0", b"bad 1", b"bad 2"]
    assert path.read_bytes() == whole


def test_repair_makes_all_shards_again_when_the_folder_is_gone(cache):
    whole = contents_of(cache)
    shutil.rmtree(cache / "shards")
    assert repair_store(cache).quarantined == []
    assert contents_of(cache) == whole


def test_an_interrupted_repair_goes_on(cache, monkeypatch):
    whole = contents_of(cache)
    for path in shards_of(cache):
        flip(path, 3000)
    real = FakeConvBase.compute

    def compute(self, batch):
        if FakeConvBase.seen >= 30:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(FakeConvBase, "compute", compute)
    monkeypatch.setattr(FakeConvBase, "seen", 20)
    with pytest.raises(KeyboardInterrupt):
        repair_store(cache, batch_size=4)
    monkeypatch.setattr(FakeConvBase, "compute", real)
    repair_store(cache)
    shutil.rmtree(cache / "quarantine")
    assert contents_of(cache).keys() == whole.keys()
    assert {path: path.read_bytes() for path in shards_of(cache)} == {path: whole[path] for path in shards_of(cache)}


def test_rows_of_removed_images_do_not_move_when_their_shard_is_repaired(photos, cache):
    (photos / "cats" / "004.png").unlink()
    extract_features(photos, cache)
    X, ids = open_features(cache).load()[0], open_features(cache).ids()
    shards_of(cache)[0].unlink()
    assert repair_store(cache).lost == []
    store = open_features(cache)
    assert np.array_equal(store.load()[0], X) and store.ids() == ids and store.pending == 0
    assert verify_store(cache, full=True) == []


def test_an_image_that_is_gone_is_named_by_repair_and_comes_back_with_features(photos, cache):
    path = photos / "cats" / "004.png"
    data = path.read_bytes()
    path.unlink()
    for shard in shards_of(cache):
        shard.unlink()
    report = repair_store(cache)
    assert [(bad.id, bad.status, bad.reason) for bad in report.lost] == [
        ("cats/004.png", Status.NEVER_WRITTEN, "its image is gone")
    ]
    store = open_features(cache)
    assert store.pending == 0 and {bad.id for bad in store.bad} == {"cats/004.png", "cats/0005.jpg"}
    path.write_bytes(data)
    FakeConvBase.seen = 0
    store = extract_features(photos, cache)
    assert FakeConvBase.seen == 1 and {bad.id for bad in store.bad} == {"cats/0005.jpg"}
    loads = FakeConvBase.loads
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    extract_features(photos, cache)
    assert FakeConvBase.loads == loads and {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    assert verify_store(cache, full=True) == []


def test_an_image_that_comes_back_after_its_row_was_lost_is_computed(photos, cache):
    path = photos / "cats" / "004.png"
    data = path.read_bytes()
    path.unlink()
    extract_features(photos, cache)
    shards_of(cache)[0].unlink()
    repair_store(cache)
    path.write_bytes(data)
    store = extract_features(photos, cache)
    assert "cats/004.png" in store.ids() and store.pending == 0


def test_fault_07_repair_does_not_wait_for_another_writer(cache):
    with open_for_writing(cache), pytest.raises(StoreBusy):
        repair_store(cache)


@pytest.mark.parametrize("name", ["manifest.json", "index-*.h5"])
def test_a_damaged_manifest_or_index_is_named_and_rebuild_starts_over(photos, cache, name):
    path = next(cache.glob(name))
    flip(path, path.stat().st_size // 2)
    for check in (verify_store, repair_store):
        with pytest.raises(StoreDamaged, match=f"{path.name}.*--rebuild"):
            check(cache)
    store = extract_features(photos, cache, rebuild=True)
    assert len(store.members()) == 20 and verify_store(cache, full=True) == []


def test_verify_and_repair_print_what_is_wrong_and_what_to_do(cache, capsys):
    assert main(["verify", str(cache), "--full", "--recompute", "4", "--sources"]) == 0
    out = capsys.readouterr().out
    assert "checked 3 shards, 21 rows, 0 heads: nothing wrong" in out
    assert "computed 4 rows again: the largest relative L2 error is 0.0e+00" in out
    damaged = shards_of(cache)[1]
    damaged.write_bytes(b"")
    assert main(["verify", str(cache)]) == 1
    out = capsys.readouterr().out
    assert "checked names, sizes and fingerprints of 3 shards, 21 rows, 0 heads: 1 finding\n" in out
    assert f"shards/{damaged.name}: has 0 bytes" in out and f"`{COMMAND} repair {cache}`" in out
    assert main(["repair", str(cache)]) == 0
    out = capsys.readouterr().out
    assert f"{cache}/quarantine/{damaged.name}" in out and "computed 8 rows again" in out
    assert main(["repair", str(cache)]) == 0 and "nothing to repair" in capsys.readouterr().out
    assert main(["verify", str(cache)]) == 0
    assert main(["verify", str(cache / "nothing")]) == 2


def test_names_with_control_characters_are_escaped(photos, tmp_path, capsys):
    name = os.fsdecode(b"odd\n\x1b\xe9.png")
    (photos / "cats" / name).write_bytes(photo(77))
    extract_features(photo_folder(photos), tmp_path / "cache")
    (photos / "cats" / name).unlink()
    assert main(["verify", str(tmp_path / "cache"), "--sources"]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_a_repaired_shard_has_the_versions_of_the_repair(cache, monkeypatch):
    first = read_manifest(cache).made_with
    shards_of(cache)[1].unlink()
    monkeypatch.setattr("importlib.metadata.version", lambda package: "99.0")
    repair_store(cache)
    manifest = read_manifest(cache)
    versions = [manifest.makers[shard.maker]["keras"] for shard in manifest.shards]
    assert versions == [first["keras"], "99.0", first["keras"]]
