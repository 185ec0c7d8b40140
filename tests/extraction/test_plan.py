"""The plan of stage one, tested by what must hold for any images and any earlier runs."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.extraction.plan import MAX_BYTES, Changes, compare_images, make_plan, rows_per_shard
from pipeline.images.ids import Ids
from pipeline.images.table import NO_GROUP, ImageTable
from pipeline.store import NO_ROW


def table(contents: dict[str, int], classes=("a", "b")) -> ImageTable:
    """Images by id, each with a content number; a negative one cannot be read."""
    n = len(contents)
    ids = sorted(contents)
    keys = b"".join(max(contents[id], 0).to_bytes(32, "big") for id in ids)
    return ImageTable(
        root=Path("/photos"),
        ids=ids,
        labels=np.array([classes.index(id[0]) for id in ids], np.int32),
        split_codes=np.zeros(n, np.int8),
        classes=classes,
        sizes=np.ones(n, np.int64),
        mtimes=np.zeros(n, np.int64),
        contents=np.frombuffer(keys, np.uint8).reshape(-1, 32),
        readable=np.array([contents[id] >= 0 for id in ids]),
        groups=np.full(n, NO_GROUP, np.int32),
    )


def check(plan, images):
    """Check the invariants of a plan."""
    ranges = plan.index.ranges
    assert ranges[0, 0] == 0 and ranges[-1, 1] == len(plan.index.contents)
    assert (ranges[1:, 0] == ranges[:-1, 1]).all()
    for row, readable, content in zip(plan.index.rows, images.readable, images.contents, strict=True):
        if row == NO_ROW:
            assert not readable
        else:
            assert (plan.index.contents[row] == content).all()


def test_random_histories_keep_every_finished_row_and_compute_no_content_twice():
    rng = np.random.default_rng(0)
    index, finished, computed = None, set(), set()
    for _ in range(60):
        images = table({f"{'ab'[n % 2]}{n}": int(rng.integers(-1, 60)) for n in rng.permutation(80)[:50]})
        plan = make_plan(images, index, finished, rows_per_shard=7)
        check(plan, images)
        if index is not None:
            for start, stop in finished:
                assert (plan.index.contents[start:stop] == index.contents[start:stop]).all()
        for start, stop in plan.pending[: rng.integers(0, len(plan.pending) + 1)].tolist():
            keys = {plan.index.contents[row].tobytes() for row in range(start, stop)}
            assert len(keys) == stop - start and not keys & computed
            computed |= keys
            finished.add((start, stop))
        index = plan.index


def plan_with_dicts(images, old, finished, retry):
    """Rows and contents of a plan, made image by image."""
    ranges = [] if old is None else old.ranges.tolist()
    kept = max((stop for start, stop in ranges if (start, stop) in finished), default=0)
    contents = [] if old is None else [content.tobytes() for content in old.contents[:kept]]
    row_of = {content: row for row, content in enumerate(contents) if row not in retry}
    rows = []
    for key, readable in zip(images.content_keys(), images.readable, strict=True):
        if readable and key not in row_of:
            row_of[key] = len(contents)
            contents.append(key)
        rows.append(row_of[key] if readable else NO_ROW)
    return rows, contents


def changes_with_dicts(old, new):
    """`compare_images`, image by image."""
    keys, new_keys = dict(zip(old.ids, old.content_keys(), strict=True)), new.content_keys()
    labels = {id: old.classes[label] for id, label in zip(old.ids, old.labels, strict=True)}
    gone = Counter(key for id, key in keys.items() if id not in set(new.ids))
    removed, counts = gone.total(), Counter()
    for id, key, label in zip(new.ids, new_keys, new.labels, strict=True):
        if id in keys:
            counts["changed"] += keys[id] != key
            counts["relabelled"] += labels[id] != new.classes[label]
        elif gone[key] > 0:
            gone[key] -= 1
            counts["moved"] += 1
        else:
            counts["added"] += 1
    return Changes(**counts, removed=removed - counts["moved"])


def test_plans_and_changes_are_those_made_image_by_image():
    rng = np.random.default_rng(1)
    index, finished = None, set()
    for _ in range(150):
        ids = rng.choice(60, int(rng.integers(1, 50)), replace=False)
        classes = tuple(rng.permutation(["a", "b", "c"])[: rng.integers(2, 4)].tolist()) if rng.random() < 0.3 else "ab"
        images = table({f"{classes[n % 2]}{n}": int(rng.integers(-1, 25)) for n in ids}, classes=tuple(classes))
        labels = rng.integers(-1, len(classes), len(images)).astype(np.int32)
        images = replace(images, ids=Ids.pack(images.ids), labels=labels)
        retry = set() if index is None else set(rng.integers(0, len(index.contents) + 3, 5).tolist())
        plan = make_plan(images, index, finished, rows_per_shard=5, retry=retry)
        rows, contents = plan_with_dicts(images, index, finished, retry)
        assert plan.index.rows.tolist() == rows
        assert [content.tobytes() for content in plan.index.contents] == contents
        assert plan.index.rows.dtype == np.int64 and plan.index.contents.dtype == np.uint8
        if index is not None:
            assert plan.changes == changes_with_dicts(index.images, images)
        first_image = {row: image for image, row in reversed(list(enumerate(rows)))}
        assert plan.index.image_of_row.tolist() == [first_image.get(row, NO_ROW) for row in range(len(contents))]
        ranges = [tuple(pair) for pair in plan.index.ranges.tolist()]
        index, finished = plan.index, {pair for pair in ranges if rng.random() < 0.6}


def test_an_interrupted_plan_goes_on_with_the_same_ranges():
    images = table({f"a{n:02d}": n for n in range(40)})
    whole = make_plan(images, None, (), rows_per_shard=8)
    again = make_plan(images, whole.index, {(0, 8), (8, 16)}, rows_per_shard=8)
    assert (again.index.ranges == whole.index.ranges).all() and (again.index.contents == whole.index.contents).all()
    assert again.pending.tolist() == [[16, 24], [24, 32], [32, 40]]
    assert again.images_cached == 16


def test_a_lost_shard_is_computed_again_and_nothing_else():
    images = table({f"a{n:02d}": n for n in range(40)})
    whole = make_plan(images, None, (), rows_per_shard=8)
    plan = make_plan(images, whole.index, {(0, 8), (16, 24), (24, 32), (32, 40)}, rows_per_shard=8)
    assert plan.pending.tolist() == [[8, 16]] and plan.images_cached == 32


def test_fault_15_16_added_images_only_and_removed_rows_leave():
    before = table({"a1": 1, "a2": 2, "b3": 3})
    old = make_plan(before, None, (), rows_per_shard=2)
    finished = {(0, 2), (2, 3)}
    after = table({"a1": 1, "b3": 3, "b4": 4})
    plan = make_plan(after, old.index, finished, rows_per_shard=2)
    assert plan.rows_pending == 1 and plan.index.rows.tolist() == [0, 2, 3]
    assert str(plan.changes) == "+1 ~0 -1"


def test_fault_17_an_edited_image_gets_a_new_row():
    old = make_plan(table({"a1": 1, "a2": 2}), None, (), rows_per_shard=8)
    plan = make_plan(table({"a1": 1, "a2": 9}), old.index, {(0, 2)}, rows_per_shard=8)
    assert plan.rows_pending == 1 and plan.changes.changed == 1


def test_fault_18_moved_and_relabelled_images_cost_nothing():
    old = make_plan(table({"a1": 1, "a2": 2, "b3": 3}), None, (), rows_per_shard=8)
    plan = make_plan(table({"a1": 1, "b2": 2, "b3": 3}), old.index, {(0, 3)}, rows_per_shard=8)
    assert plan.rows_pending == 0 and plan.index.rows.tolist() == [0, 1, 2]
    assert str(plan.changes) == "+0 ~0 -0 moved 1"


def test_fault_19_equal_images_share_a_row():
    plan = make_plan(table({"a1": 5, "a2": 5, "b3": 6}), None, (), rows_per_shard=8)
    assert plan.rows_pending == 2 and plan.index.rows.tolist() == [0, 0, 1]


def test_fault_20_a_renamed_class_relabels():
    images = table({"a1": 1, "b2": 2})
    assert compare_images(images, replace(images, classes=("a", "c"))).relabelled == 1


def test_an_image_that_came_back_is_not_computed_again():
    first = make_plan(table({"a1": 1, "b2": 2}), None, (), rows_per_shard=8)
    second = make_plan(table({"a1": 1}), first.index, {(0, 2)}, rows_per_shard=8)
    third = make_plan(table({"a1": 1, "b2": 2}), second.index, {(0, 2)}, rows_per_shard=8)
    assert third.rows_pending == 0


def test_rows_that_could_not_be_read_are_tried_again():
    images = table({"a1": 1, "b2": 2})
    first = make_plan(images, None, (), rows_per_shard=8)
    again = make_plan(images, first.index, {(0, 2)}, rows_per_shard=8, retry={1})
    assert again.index.rows.tolist() == [0, 2] and again.pending.tolist() == [[2, 3]]


@pytest.mark.parametrize(("shape", "rows"), [((4, 4, 512), 512), ((150, 150, 64), 23)])
def test_a_shard_fits_into_memory(shape, rows):
    bytes_per_row = int(np.prod(shape)) * 2
    assert rows_per_shard(bytes_per_row) == rows
    assert rows * bytes_per_row <= MAX_BYTES


def test_a_row_that_is_larger_than_a_shard_gets_a_shard_of_its_own():
    assert rows_per_shard(MAX_BYTES * 3) == 1
