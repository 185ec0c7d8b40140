"""The pure parts of a comparison: subsets, names, halving, paired differences, speeds."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import ConvBaseSpec
from pipeline.comparison import stage_timer
from pipeline.comparison.candidate import make_candidates, name_of
from pipeline.comparison.halving import affordable, next_step, survivors
from pipeline.comparison.paired import MISSING, paired_difference
from pipeline.comparison.stage_timer import StageTimer
from pipeline.comparison.subset import choose_subset
from pipeline.extraction.callbacks import SILENT
from pipeline.images.ids import Ids
from pipeline.images.table import NO_GROUP, ImageTable


def make_table(n=400, *, groups=None, seed=0):
    """Images of two classes, three quarters of the first one, a fifth in validation and a tenth in test."""
    rng = np.random.default_rng(seed)
    return ImageTable(
        root=Path("photos"),
        ids=Ids.pack(f"{i:05d}.jpg" for i in range(n)),
        labels=(np.arange(n) % 4 == 0).astype(np.int32),
        split_codes=np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2], np.int8)[rng.permutation(n) % 10],
        classes=("a", "b"),
        sizes=np.ones(n, np.int64),
        mtimes=np.ones(n, np.int64),
        contents=rng.integers(0, 256, (n, 32)).astype(np.uint8),
        readable=np.ones(n, bool),
        groups=np.full(n, NO_GROUP, np.int32) if groups is None else groups.astype(np.int32),
    )


class TestSubset:
    def test_every_class_has_as_many_train_images_and_the_same_share_of_the_others(self):
        images = make_table()
        subset = choose_subset(images, 20)
        counts = images.take(subset.members).counts()
        assert counts[:, 0].tolist() == [20, 20]
        shares = images.counts() * (20 / images.counts()[:, :1])
        assert counts.tolist() == np.ceil(shares).astype(int).tolist()
        assert set(images.split_codes[subset.measured]) == {0, 1}

    def test_a_smaller_subset_is_part_of_a_larger_one(self):
        images = make_table(groups=np.arange(400) // 7)
        sizes = [set(choose_subset(images, n).members.tolist()) for n in (5, 10, 40, 100_000)]
        assert all(small < large for small, large in itertools.pairwise(sizes))
        assert sizes[-1] == set(choose_subset(images, None).members.tolist()) == set(range(400))

    def test_groups_and_equal_images_are_whole(self):
        groups = np.where(np.arange(400) % 2 == 0, np.arange(400) // 40, NO_GROUP)
        images = make_table(groups=groups)
        images.labels[:], images.split_codes[:] = 0, 0
        images.contents[1:20:2] = images.contents[1]
        chosen = np.zeros(400, bool)
        chosen[choose_subset(images, 60).members] = True
        assert 60 <= chosen.sum() < 400
        for unit in (*(groups == number for number in range(10)), np.arange(400) % 2 * (np.arange(400) < 20) == 1):
            assert chosen[unit].all() or not chosen[unit].any()

    def test_names_and_order_do_not_matter(self):
        images = make_table()
        order = np.random.default_rng(1).permutation(400)
        other = replace(
            images, **{name: getattr(images, name)[order] for name in ("labels", "split_codes", "contents")}
        )
        contents = [
            {table.contents[i].tobytes() for i in choose_subset(table, 20).members.tolist()}
            for table in (images, other)
        ]
        assert contents[0] == contents[1]

    def test_the_key_tells_whether_labels_splits_or_images_have_changed(self):
        images = make_table()
        changed = replace(images, labels=images.labels.copy())
        changed.labels[choose_subset(images, 20).measured[0]] ^= 1
        keys = {choose_subset(images, n).key for n in (20, 21, 20)}
        assert len(keys) == 2 and choose_subset(changed, None).key != choose_subset(images, None).key

    def test_images_that_cannot_be_read_are_left_out(self):
        images = make_table()
        images.readable[:100] = False
        assert choose_subset(images, None).members.min() == choose_subset(images, 500).members.min() == 100


class TestNames:
    def test_a_name_shows_the_settings(self):
        spec = ConvBaseSpec("mobilenet_v2", {"alpha": 0.35}, size=224, precision="int8")
        assert name_of(spec) == "mobilenet_v2-alpha=0.35-224-int8"
        assert name_of(ConvBaseSpec(size=(96, 128), precision="float32")) == "vgg16-96x128-float32"
        assert name_of(ConvBaseSpec(precision="float32", weights="random")) == "vgg16-150-float32-random"

    def test_what_a_name_does_not_show_is_hashed_files_by_their_content(self, tmp_path):
        for folder, text in (("a", "1"), ("b", "2"), ("c", "1")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "my net.keras").write_text(text)
        names = [name_of(ConvBaseSpec(str(tmp_path / folder / "my net.keras"), size=96)) for folder in "abc"]
        assert names[0] == names[2] != names[1] and names[0].startswith("my_net-96-auto-")
        base = ConvBaseSpec(precision="float32")
        others = [
            replace(base, weights=str(tmp_path / "a/my net.keras")),
            replace(base, cut="block4_pool"),
            replace(base, preprocessing="caffe"),
            replace(base, conv_base_args={"pooling": "a-150-float32"}),
            replace(base, conv_base_args={"pooling": "A"}),
        ]
        assert len({name_of(spec) for spec in [base, *others]}) == 6
        assert all("/" not in name_of(spec) for spec in others)

    def test_a_directory_is_named_after_its_last_part_and_its_content(self, tmp_path, monkeypatch):
        for folder, content in (("a", "1"), ("b", "1"), ("c", "2")):
            (tmp_path / folder / "vit.v2").mkdir(parents=True)
            (tmp_path / folder / "vit.v2/config.json").write_text(content)
        monkeypatch.setattr(
            "pipeline.conv_base.hash_files.hash_directory", lambda path, how: (path / "config.json").read_text()
        )
        monkeypatch.chdir(tmp_path / "a/vit.v2")
        paths = ("./", *(f"{tmp_path}/{folder}/vit.v2/" for folder in "abc"))
        here, *others = (make_candidates([ConvBaseSpec(path, precision="float32")])[0] for path in paths)
        assert here.conv_base == "vit.v2" and here.name.startswith("vit.v2-150-float32-")
        assert here.name == others[0].name == others[1].name != others[2].name

    def test_equal_specs_count_once_and_auto_is_float32(self):
        candidates = make_candidates([ConvBaseSpec(), ConvBaseSpec(precision="float32"), ConvBaseSpec(size=96)])
        assert [candidate.name for candidate in candidates] == ["vgg16-150-float32", "vgg16-96-float32"]
        assert candidates[0].spec.precision == "float32"


class TestHalving:
    def test_the_better_half_and_what_is_not_worse_go_on(self):
        assert survivors(["a", "b", "c", "d", "e"], {"b", "c", "e"}) == ["a", "b", "c", "d"]
        assert survivors(["a"], set()) == ["a"]

    def test_steps_grow_by_four_until_half_of_the_images_are_reached(self):
        images = make_table(4000)
        largest = int(images.counts()[:, 0].max())
        assert next_step(images, largest // 8 - 1) == 4 * (largest // 8 - 1)
        assert next_step(images, largest // 8 + 1) is None

    def test_the_budget_takes_the_best_that_fit(self):
        seconds = {"a": 10.0, "b": 50.0, "c": 5.0}
        assert affordable(["a", "b", "c"], seconds, None) == ["a", "b", "c"]
        assert affordable(["a", "b", "c"], seconds, 20.0) == ["a", "c"]
        assert affordable(["a", "b", "c"], seconds, -1.0) == []


class TestPairedDifference:
    def test_it_is_narrower_than_the_intervals_of_two_accuracies(self):
        rng = np.random.default_rng(0)
        reference = (rng.random(500) < 0.9).astype(int)
        outcomes = reference.copy()
        outcomes[np.flatnonzero(reference)[:10]] = 0
        difference = paired_difference(outcomes, reference, np.arange(500))
        assert difference.value == pytest.approx(-0.02) and difference.is_worse
        assert -0.04 < difference.interval[0] < difference.interval[1] < 0
        assert paired_difference(reference, reference, np.arange(500)).interval == (0, 0)

    def test_equal_images_are_drawn_together(self):
        outcomes, reference = np.zeros(100, int), np.repeat([0, 1], [90, 10])
        alone = paired_difference(outcomes, reference, np.arange(100))
        together = paired_difference(outcomes, reference, np.repeat(np.arange(10), 10))
        assert alone.is_worse and not together.is_worse

    def test_images_that_one_has_no_features_of_are_left_out(self):
        outcomes, reference = np.array([MISSING, 1, 0]), np.array([1, 1, 1])
        assert paired_difference(outcomes, reference, np.arange(3)).value == -0.5


def test_the_speed_is_measured_after_the_warm_up(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stage_timer.time, "perf_counter", lambda: now[0])
    timer = StageTimer(SILENT)
    now[0] = 5.0  # loading
    timer.progress("features", 0, 640, "images")
    for batch in range(20):
        now[0] += 3.0 if batch == 0 else 0.32 if batch != 10 else 3.2  # tracing, and another program's turn
        for i in range(32):
            timer.progress("features", 32 * batch + i + 1, 640, "images")
    timing = timer.timing(now[0])
    assert timing.ms == pytest.approx(10.0)  # the median
    assert timing.seconds_per_image == pytest.approx((15 * 0.32 + 3.2) / 512)
    assert timing.seconds_of_all(640, 640) == pytest.approx(now[0])
    assert timing.seconds_for(0) == 0
    assert timing.seconds_of_all(1280, 640) == pytest.approx(now[0] + timing.seconds_for(640))


def test_quantising_is_no_cost_of_a_store_that_is_continued(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stage_timer.time, "perf_counter", lambda: now[0])
    timer = StageTimer(SILENT)
    timer.quantizing(100)
    now[0] = 9.0
    for i in range(200):
        timer.progress("features", i + 1, 200, "images")
        now[0] += 0.01
    timing = timer.timing(now[0])
    assert timing.start_seconds == pytest.approx(9.0, abs=0.1) and timing.restart_seconds < 0.1
