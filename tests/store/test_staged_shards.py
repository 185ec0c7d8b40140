"""Shards of other processes: the holder of the lock checks them and gives them their names."""

import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import StoreBusy, open_features
from pipeline.images.status import Status
from pipeline.store import BadRow, Receipt, ShardContent, StoreLayout, open_for_writing, stage_shard
from pipeline.store.index import Index
from tests.store.small_stores import content_of, contents_of, index_of, manifest_of

NUMERICS = "ab" * 32
NAMES = [f"cats/{i}.png".encode() for i in range(8)]


@pytest.fixture
def index() -> Index:
    return index_of(NAMES)


@pytest.fixture
def cache(tmp_path: Path, index: Index) -> Path:
    """A store with a plan of four shards of two rows, none of them computed."""
    with open_for_writing(tmp_path / "cache") as writer:
        writer.begin(manifest_of(numerics=NUMERICS), index)
    return tmp_path / "cache"


@pytest.fixture
def whole(tmp_path: Path, index: Index) -> dict[str, bytes]:
    """The shards of the same store, written by one process."""
    with open_for_writing(tmp_path / "whole") as writer:
        writer.begin(manifest_of(), index)
        for start, stop in index.ranges.tolist():
            writer.put_shard(content_of(index, start, stop), ())
    return shards_of(tmp_path / "whole")


def stage(cache: Path, index: Index, start: int, *, made_with: dict | None = None) -> Receipt:
    return stage_shard(open_features(cache), content_of(index, start, start + 2), (), made_with or {})


def shards_of(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((cache / "shards").iterdir())}


def test_a_receipt_is_small_and_tells_what_was_written(cache, index):
    receipt = stage(cache, index, 0, made_with={"numpy": "1"})
    assert shards_of(cache).keys() == {receipt.name}
    assert re.fullmatch(r"\.done-[0-9a-f]{12}-0000000000-0000000002\.h5-[0-9a-f]{8}", receipt.name)
    assert (receipt.entry.start, receipt.entry.stop) == (0, 2) and len(pickle.dumps(receipt)) < 1000
    assert open_features(cache).pending == 8  # no reader sees it


def test_accepted_shards_are_those_that_one_process_writes(cache, index, whole):
    receipts = [stage(cache, index, start) for start in (4, 0, 6, 2)]
    with open_for_writing(cache) as writer:
        pass  # which adopts them
    assert shards_of(cache) == whole
    with open_for_writing(cache, rebuild=True) as writer:
        writer.begin(manifest_of(numerics=NUMERICS), index)
        receipts = [stage(cache, index, start) for start in (4, 0, 6, 2)]
        assert writer.accept(receipts[:1]) == writer.accept(receipts[1:]) == {}
    assert shards_of(cache) == whole and open_features(cache).pending == 0


def test_a_shard_that_is_in_place_is_never_replaced(cache, index):
    with open_for_writing(cache) as writer:
        first, second = stage(cache, index, 0), stage(cache, index, 0)
        assert writer.accept([first]) == {}
        (shard,) = (cache / "shards").glob("*.h5")
        before = shard.stat().st_ino
        assert writer.accept([second]) == {}
        assert shard.stat().st_ino == before and shards_of(cache).keys() == {shard.name}
        late = stage(cache, index, 0)
    with open_for_writing(cache):
        assert shard.stat().st_ino == before and not (cache / "shards" / late.name).exists()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def remove(path: Path) -> None:
    path.unlink()


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def other_images(path: Path) -> None:
    other = index_of([b"dogs/" + name for name in NAMES])
    contents = np.roll(other.contents, 1, axis=0)
    rewrite(path, replace(content_of(other, 0, 2), ids=contents[:2]))


def other_fingerprint(path: Path) -> None:
    rewrite(path, content_of(index_of(NAMES), 0, 2), fingerprint="0" * 64)


def other_rows(path: Path) -> None:
    rewrite(path, replace(content_of(index_of(NAMES), 0, 2), start=2))


def rewrite(path: Path, content, **changes: str) -> None:
    """Replace a staged shard by another one."""
    layout = open_features(path.parent.parent)
    receipt = stage_shard(StoreLayout(layout.directory, replace(layout.manifest, **changes)), content, (), {})
    os.replace(path.parent / receipt.name, path)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (truncate, "bytes, not"),
        (grow, "bytes, not"),
        (remove, "cannot be read: No such file"),
        (other_images, "holds other images than the index says"),
        (other_fingerprint, "its fingerprint is 0000"),
        (other_rows, "its start is 2, not 0"),
    ],
)
def test_a_file_that_is_not_what_the_receipt_says_is_refused_and_deleted(cache, index, damage, problem):
    with open_for_writing(cache) as writer:
        good, bad = stage(cache, index, 2), stage(cache, index, 0)
        damage(cache / "shards" / bad.name)
        problems = writer.accept([bad, good])
        assert problems.keys() == {bad.name} and problem in problems[bad.name]
        assert not (cache / "shards" / bad.name).exists()
    assert open_features(cache).pending == 6


def flip_feature(path: Path) -> None:
    data = bytearray(path.read_bytes())
    values = content_of(index_of(NAMES), 0, 2).features.tobytes()
    data[data.index(values) + 5] ^= 1
    path.write_bytes(data)


def mark_bad(path: Path) -> None:
    """Mark a row with features as one without."""
    content = content_of(index_of(NAMES), 0, 2)
    rewrite(path, replace(content, status=np.array([Status.OK, Status.TOO_LARGE], np.uint8)))


def not_finite(path: Path) -> None:
    content = content_of(index_of(NAMES), 0, 2)
    features = content.features.copy()
    features[1, 0, 0, 0] = np.nan
    rewrite(path, replace(content, features=features))


def rename_to_unplanned(path: Path) -> None:
    path.rename(path.with_name(path.name.replace("-0000000000-", "-0000000001-")))


def rename_to_nonsense(path: Path) -> None:
    path.rename(path.with_name(".done-what"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        empty,
        other_images,
        other_fingerprint,
        other_rows,
        flip_feature,
        mark_bad,
        not_finite,
        rename_to_unplanned,
        rename_to_nonsense,
    ],
)
def test_a_file_of_a_killed_run_that_is_not_whole_is_deleted_and_the_others_are_adopted(cache, index, damage):
    bad, good = stage(cache, index, 0), stage(cache, index, 2)
    expected = (cache / "shards" / good.name).read_bytes()
    damage(cache / "shards" / bad.name)
    with open_for_writing(cache) as writer:
        assert writer.current.pending == 6
    assert shards_of(cache) == {"0000000002-0000000004.h5": expected}


def without_features(index: Index, start: int, status: Status) -> ShardContent:
    content = content_of(index, start, start + 2)
    features = content.features.copy()
    features[1] = 0
    return replace(content, features=features, status=np.array([Status.OK, status], np.uint8))


def test_rows_without_features_are_known_after_an_adoption(cache, index):
    stage_shard(open_features(cache), without_features(index, 2, Status.TOO_LARGE), (), {})
    with open_for_writing(cache) as writer:
        (entry,) = writer.current.manifest.shards
    assert entry.bad == (BadRow(3, Status.TOO_LARGE, Status.TOO_LARGE.words),)


def test_what_was_accepted_and_not_listed_is_listed_by_the_next_writer(cache, index, whole):
    """As after a kill between the rename and the manifest."""
    with open_for_writing(cache) as writer:
        before = (cache / "manifest.json").read_bytes()
        writer.accept([stage(cache, index, start) for start in (0, 2, 4, 6)])
    (cache / "manifest.json").write_bytes(before)
    assert open_features(cache).pending == 8
    with open_for_writing(cache):
        pass
    assert open_features(cache).pending == 0 and shards_of(cache) == whole


def test_the_maker_of_each_shard_is_recorded(cache, index):
    with open_for_writing(cache) as writer:
        odd = {"machine": "b", "numerics": "cd" * 32}
        receipts = [
            stage(cache, index, 0, made_with={"machine": "a"}),
            stage(cache, index, 2, made_with=odd),
            stage(cache, index, 4, made_with={"machine": "a"}),
        ]
        writer.accept(receipts)
    stage(cache, index, 6, made_with=odd)
    with open_for_writing(cache):  # adopts it
        pass
    manifest = open_features(cache).manifest
    makers = [manifest.makers[entry.maker] for entry in manifest.shards]
    assert makers == [{"machine": "a"}, odd, {"machine": "a"}, odd]
    assert not list(cache.glob(".maker-*"))


def test_a_maker_that_is_not_known_is_the_last_that_rounds_as_the_store_does(cache, index):
    with open_for_writing(cache) as writer:
        writer.set_maker({"machine": "a"})
        writer.set_maker({"machine": "b", "numerics": "cd" * 32})
    stage(cache, index, 6, made_with={"machine": "c"})
    (maker,) = cache.glob(".maker-*")
    maker.write_bytes(b"{}")
    with open_for_writing(cache) as writer:
        (entry,) = writer.current.manifest.shards
        assert writer.current.manifest.makers[entry.maker] == {"machine": "a"}


def test_a_writer_whose_lock_was_taken_accepts_and_adopts_nothing(cache, index):
    with pytest.raises(StoreBusy), open_for_writing(cache) as writer:
        receipt = stage(cache, index, 0)
        (cache / ".writer.json").write_text("{}")
        before = contents_of(cache)
        try:
            writer.accept([receipt])
        finally:
            assert contents_of(cache) == before


def test_a_staged_shard_that_could_not_be_written_leaves_nothing(cache, index, monkeypatch):
    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.files.durable.os.write", full)
    with pytest.raises(OSError, match="No space left"):
        stage(cache, index, 0)
    assert shards_of(cache) == {}


def test_staged_shards_are_removed_with_a_rebuild_and_if_they_are_in_place(cache, index):
    with open_for_writing(cache) as writer:
        writer.accept([stage(cache, index, 0)])
        stage(cache, index, 0)
        pending = stage(cache, index, 2)
        writer.remove_staged()
        assert shards_of(cache).keys() == {"0000000000-0000000002.h5", pending.name}
    with open_for_writing(cache, rebuild=True) as writer:
        stage(cache, index, 2)
        writer.begin(manifest_of(), index)
    assert shards_of(cache) == {}
