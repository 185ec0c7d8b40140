"""`compare_conv_bases` on a fake conv base: nothing is computed twice, all can be interrupted, the best go on."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from pipeline import Callbacks, ConvBaseSpec, HeadError, ImagesError, SpecError, compare_conv_bases, scan_images
from pipeline.comparison import Budgets, Comparison, measure, read_comparison
from pipeline.comparison.candidate import RefusedSpec
from pipeline.comparison.records import Records
from pipeline.files.durable import read_json, write_json
from pipeline.store import open_features
from tests.conv_base.test_onnx import tiny_model
from tests.exporting import conv_base_file
from tests.fakes import photo_folder

SMALL, LARGE = (ConvBaseSpec(size=size, precision="float32", store_dtype="float32") for size in (4, 8))


@pytest.fixture
def images(tmp_path):
    """Eighty images whose brightness tells the class, and a tenth that does not."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(40):
            level = 60 + 100 * (label if i % 10 else 1 - label)
            file = io.BytesIO()
            Image.fromarray(rng.integers(level, level + 40, (16, 16, 3), dtype=np.uint8)).save(file, "PNG")
            (tmp_path / "images" / name / f"{i}.png").write_bytes(file.getvalue())
    return scan_images(tmp_path / "images")


@pytest.fixture
def quick(fake_conv_base, monkeypatch):
    """The fake conv base, without models to export and without TensorFlow."""
    monkeypatch.setattr(measure, "_exported_bytes", lambda *arguments: 1_500_000)
    monkeypatch.setattr("pipeline.comparison.stage_timer.import_keras", lambda: None)
    return fake_conv_base


class Log(Callbacks):
    """Records steps and failures, and interrupts the spec number `stop`, or the features at `stop_features`."""

    def __init__(self, stop=0, stop_features=0):
        self.steps, self.failed, self.limited, self.stop, self.stop_features = [], [], [], stop, stop_features

    def comparison_step_planned(self, step, names, images, seconds):
        self.steps.append((step, list(names), images, seconds))

    def comparison_limited(self, names, seconds, left):
        self.limited += names

    def spec_started(self, name, number, total):
        if number == self.stop:
            raise KeyboardInterrupt

    def spec_failed(self, name, reason):
        self.failed.append((name, reason))

    def progress(self, step, done, total, unit):
        if step == "features" and done == self.stop_features != 0:
            raise KeyboardInterrupt


def compare(images, tmp_path, specs=(SMALL, LARGE), **settings) -> Comparison:
    """Compare with a head that is trained in milliseconds."""
    values = {"per_class": 10, "heads": ("ridge",), **settings}
    return compare_conv_bases(images, specs, tmp_path / "comparison", **values)


def records(tmp_path) -> Records:
    return Records.from_json(read_json(tmp_path / "comparison/comparison.json")["measured"])


def test_each_spec_has_an_ordinary_store_of_the_subset_and_a_row(images, tmp_path, quick):
    comparison = compare(images, tmp_path)
    assert sorted(row.size for row in comparison.rows) == ["4", "8"] and not comparison.is_whole
    for row in comparison.rows:
        store = open_features(tmp_path / "comparison" / row.name)
        assert 20 <= len(store.members("train")) == row.train_images < 60
        assert row.accuracy > 0.6 and row.accuracy_interval[0] <= row.accuracy <= row.accuracy_interval[1]
        assert row.ms > 0 and row.model_mb == 1.5 and row.feature_mb == store.bytes_per_row / 1e6
        assert row.estimated_seconds > 0 and row.measured_seconds is None and row.head == "ridge"
    assert sum(row.difference is None for row in comparison.rows) == 1
    assert comparison.recommended.is_pareto and 1 <= len(comparison.advice) <= 4


def test_nothing_is_computed_or_measured_again(images, tmp_path, quick, monkeypatch):
    first = compare(images, tmp_path)
    seen, loads = quick.seen, quick.loads
    monkeypatch.setattr(measure, "score_store", None)
    monkeypatch.setattr(measure, "_exported_bytes", None)
    assert compare(images, tmp_path).rows == first.rows
    assert (quick.seen, quick.loads) == (seen, loads)
    assert read_comparison(tmp_path / "comparison") == first


def test_the_stores_of_the_survivors_go_on_to_all_images(images, tmp_path, quick):
    images, log = scan_images(images.root, test=0.2), Log()
    comparison = compare(images, tmp_path, full=True, callbacks=log)
    measured = images.split_codes < 2
    assert [step[0] for step in log.steps] == [1, 2] and log.steps[1][2] == measured.sum()
    assert log.steps[0][3] is None and log.steps[1][3] > 0
    names, n_test = log.steps[1][1], (images.split_codes == 2).sum()
    # No image twice, and the test images for the row to take alone.
    assert quick.seen == len(names) * measured.sum() + (2 - len(names)) * log.steps[0][2] + n_test
    best = comparison.rows[0]
    assert comparison.is_whole and best.name in names and best.train_images == (images.split_codes == 0).sum()
    taken = comparison.recommended
    assert taken.test_accuracy > 0.6 and "On the test images" in comparison.advice[-1]
    for row in comparison.rows:  # the test images of the row to take do not count
        assert row.estimated_seconds > 0 and (row.measured_seconds is not None) == (row.name in names)
    images.labels[np.flatnonzero(images.split_codes == 2)] ^= 1
    again = compare(images, tmp_path, full=True)
    assert again.recommended.test_accuracy == pytest.approx(1 - taken.test_accuracy)
    assert all(row.test_accuracy is None for row in comparison.rows if row is not taken)
    assert open_features(tmp_path / "comparison" / taken.name).pending == 0


def test_a_smaller_comparison_afterwards_leaves_the_larger_store_as_it_is(images, tmp_path, quick):
    taken = compare(images, tmp_path, full=True).recommended
    store = tmp_path / "comparison" / taken.name
    n, seen = len(open_features(store).images), quick.seen
    comparison = compare(images, tmp_path, per_class=12)
    assert len(open_features(store).images) == n
    row = next(row for row in comparison.rows if row.name == taken.name)
    assert row.train_images < taken.train_images and row.measured_seconds == taken.measured_seconds
    assert quick.seen <= seen + n


def test_times_of_a_store_that_was_removed_do_not_count(images, tmp_path, quick):
    (row,) = compare(images, tmp_path, (LARGE,), full=True).rows
    shutil.rmtree(tmp_path / "comparison" / row.name)
    compare(images, tmp_path, (LARGE,))
    (record,) = records(tmp_path)._records.values()
    assert row.measured_seconds is not None and len(record.steps) == 1


@pytest.mark.parametrize("log", [Log(stop=2), Log(stop_features=5), Log(stop_features=16)])
def test_an_interrupted_comparison_goes_on(images, tmp_path, quick, log, monkeypatch):
    monkeypatch.setattr("pipeline.extraction.plan.MAX_ROWS", 8)
    with pytest.raises(KeyboardInterrupt):
        compare(images, tmp_path, callbacks=log)
    done, quick.seen = quick.seen, 0
    comparison = compare(images, tmp_path)
    assert [row.problem for row in comparison.rows] == [None, None] and all(row.ms for row in comparison.rows)
    if log.stop:  # the first spec was finished
        assert quick.seen == done
    else:
        (record,) = (record for record in records(tmp_path)._records.values() if len(record.steps) == 2)
        assert record.steps[0].images == log.stop_features - 1 and record.timing is not None


def test_a_spec_that_cannot_be_compared_is_a_row_with_the_reason(images, tmp_path, quick):
    log = Log()
    comparison = compare(images, tmp_path, (replace(SMALL, cut="nowhere"), LARGE), callbacks=log)
    assert [row.problem for row in comparison.rows] == [None, "no layer 'nowhere'"]
    assert comparison.rows[1].accuracy is None and log.failed[0][1] == "no layer 'nowhere'"
    assert comparison.recommended.size == "8"


def test_a_refused_spec_is_a_row_with_its_problem(images, tmp_path, quick):
    comparison = compare(images, tmp_path, (RefusedSpec("net.onnx", "8", "int8", "not in int8"), LARGE))
    assert [row.problem for row in comparison.rows] == [None, "not in int8"]
    assert comparison.rows[1].label == "net.onnx, 8, int8"


def test_random_weights_are_marked_and_not_recommended(images, tmp_path, quick):
    comparison = compare(images, tmp_path, (replace(LARGE, weights="random"),))
    assert comparison.rows[0].random_weights and comparison.rows[0].accuracy > 0.6
    assert comparison.recommended is None and comparison.advice[0].startswith("Nothing can be recommended")


def test_the_budget_bounds_what_is_started(images, tmp_path, quick, monkeypatch):
    none = compare(images, tmp_path, budgets=Budgets(seconds=1e-9))
    assert quick.seen == 0 and {row.problem for row in none.rows} == {"not started: the 0s are over"}
    monkeypatch.setattr(measure.Measurer, "estimate", lambda *arguments: 1e6)
    log = Log()
    assert not compare(images, tmp_path, full=True, budgets=Budgets(seconds=1000), callbacks=log).is_whole
    assert len(log.steps) == 1 and log.limited


def test_other_heads_can_score_and_the_best_one_counts(images, tmp_path, quick):
    comparison = compare(images, tmp_path, heads=("ridge", "knn"))
    assert {row.head for row in comparison.rows} <= {"ridge", "knn"}
    assert compare_conv_bases(images, [SMALL], tmp_path / "comparison", per_class=10).rows[0].head == "logistic"


@pytest.mark.parametrize("change", ["damaged", "other"])
def test_a_file_that_is_not_one_of_a_comparison_is_measured_again_with_a_warning(
    images, tmp_path, quick, caplog, change
):
    compare(images, tmp_path)
    path = tmp_path / "comparison/comparison.json"
    if change == "damaged":
        path.write_bytes(path.read_bytes().replace(b"rows", b"cows", 1))
    else:
        write_json(path, {**read_json(path), "rows": [{"name": 3}], "measured": {"records": 3}})
    assert read_comparison(path.parent) is None and str(path) in caplog.text
    seen = quick.seen
    assert all(row.accuracy is not None for row in compare(images, tmp_path).rows)
    assert quick.seen > seen  # speeds, in a temporary store


def test_speeds_of_another_machine_do_not_count(images, tmp_path, quick):
    compare(images, tmp_path, (LARGE,))
    path = tmp_path / "comparison/comparison.json"
    document = read_json(path)
    (record,) = document["measured"]["records"].values()
    record["machine"], record["timing"]["ms"] = "elsewhere", 1e9
    write_json(path, document)
    assert compare(images, tmp_path, (LARGE,)).rows[0].ms < 1e9


def test_wrong_requests_are_errors(images, tmp_path, quick):
    with pytest.raises(SpecError, match="no conv bases"):
        compare(images, tmp_path, ())
    with pytest.raises(ImagesError, match="0 of each class"):
        compare(images, tmp_path, per_class=0)
    with pytest.raises(HeadError, match="no head is called"):
        compare(images, tmp_path, heads=("nohead",))
    with pytest.raises(ImagesError, match="0 validation images"):
        compare(images.take(np.flatnonzero(images.split_codes == 0)), tmp_path)
    assert not (tmp_path / "comparison").exists()


def test_a_conv_base_is_compared_in_floats_and_in_int8(tmp_path: Path):
    """With TensorFlow: parameters, and the size of the exported models."""
    images = scan_images(photo_folder(tmp_path / "photos", 20))
    spec = ConvBaseSpec(str(conv_base_file(tmp_path / "tiny.keras")), size=(24, 20), preprocessing="rescale")
    rows = compare(images, tmp_path, [replace(spec, precision=name) for name in ("float32", "int8")]).rows
    assert {row.conv_base for row in rows} == {"tiny.keras"} and {row.size for row in rows} == {"24x20"}
    assert {row.parameters for row in rows} == {4 * 28 + 6 * 37}
    sizes = {row.precision: row.model_mb for row in rows}
    assert 0 < sizes["int8"] < sizes["float32"] < 0.1


def test_a_conv_base_of_onnx_has_neither_parameters_nor_a_model(tmp_path):
    images, file = scan_images(photo_folder(tmp_path / "photos", 20)), tmp_path / "tiny.onnx"
    onnx.save(tiny_model(), file)
    spec = ConvBaseSpec(str(file), size=16, preprocessing="rescale")
    (row,) = compare(images, tmp_path, [spec]).rows
    assert (row.problem, row.parameters, row.model_mb) == (None, None, None) and row.ms > 0


def test_pairs_of_networks_are_compared_side_by_side_without_another_forward_pass(images, tmp_path, quick):
    images = scan_images(images.root, test=0.2)
    specs = [SMALL, LARGE, replace(SMALL, conv_base="resnet50"), replace(SMALL, conv_base="xception", cut="nowhere")]
    alone = compare(images, tmp_path, specs)
    seen = quick.seen
    comparison = compare(images, tmp_path, specs, joined=True)
    best = {row.conv_base: row for row in reversed(alone.rows)}
    (pair,) = (row for row in comparison.rows if "+" in row.name)
    assert set(pair.name.split("+")) == {best["vgg16"].name, best["resnet50"].name}
    assert quick.seen <= seen + 2 * (images.split_codes == 2).sum()
    parts = [row for row in comparison.rows if row.name in pair.name.split("+")]
    for cost in ("ms", "feature_mb", "estimated_seconds"):
        assert getattr(pair, cost) == pytest.approx(sum(getattr(part, cost) for part in parts))
    assert pair.train_images == parts[0].train_images and pair.difference is not None and pair.accuracy > 0.6
    assert open_features(tmp_path / "comparison" / pair.name).feature_shape == (6,)
    assert compare(images, tmp_path, specs, joined=True).rows == comparison.rows


def test_a_row_that_was_left_behind_is_not_taken_instead_of_a_joined_store(images, tmp_path, quick, monkeypatch):
    images, compute = scan_images(images.root, validation=0.5), quick.compute

    def worse(self, batch):
        features = compute(self, batch)
        return features * 0 if self.spec.conv_base == "xception" else features

    monkeypatch.setattr(quick, "compute", worse)
    specs = [LARGE, replace(LARGE, conv_base="resnet50"), replace(LARGE, conv_base="xception")]
    monkeypatch.setattr("pipeline.comparison.table.Table.worse_than_first", lambda self, ranked: set(ranked[1:]))
    comparison = compare(images, tmp_path, specs, full=True, joined=True)
    left = next(row for row in comparison.rows if row.conv_base == "xception")
    joined = next(row for row in comparison.rows if "+" in row.name)
    assert left.train_images < joined.train_images and left.difference_interval[1] < 0
    assert comparison.recommended.conv_base != "xception" and "xception" not in comparison.advice[0]
