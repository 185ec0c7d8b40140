"""`make bench` measures what it reports; these tests do not depend on any speed."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pipeline.errors import ImagesError
from pipeline.heads import make_head
from scripts.bench import heads, limit, measuring, photos, pooled, two_processes, whole_job
from scripts.bench.__main__ import PARTS, main, measure_part
from scripts.bench.plot import save_plot
from scripts.bench.results import Figure, figure, make_table, ratios
from scripts.bench.sizes import GROWTH, Sizes
from tests.fakes import photo_folder

ROOT = Path(__file__).parent.parent.parent
TINY = Sizes(
    photos=40,
    subset=20,
    large_photos=2,
    large_photo=(1200, 900),
    side=32,
    seconds=0.0,
    rounds=2,
    rows=64,
    validation_rows=32,
    search_rows=200,
    pooled_rows=200,
    stored_rows=64,
    growth=(20, 200),
    matrix=64,
    precisions=("float32", "bfloat16"),
    planned=2_000,
    workers=(3,),
    images_per_worker=1_000,
    sleep=0.0001,
    mobilenet_side=32,
)
WITH_CHILDREN = (
    "growth",
    "plan",
    "cold",
    "coordination",
)  # parts that start processes; the others run in this one, where TensorFlow is loaded


@pytest.fixture(scope="module")
def bench_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "photos"
    photos.make_photos(folder, TINY.photos)
    return folder


def measure(part: str, photos_folder: Path, work: Path) -> list[Figure]:
    if part in WITH_CHILDREN:
        return measure_part(part, TINY, photos_folder, work / part)
    sizes = replace(TINY, rounds=1) if part in ("limit", "ways") else TINY  # they take the longest
    return PARTS[part][1](sizes, photos_folder, work)


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        (
            "limit",
            {
                "limit.product.float32",
                "limit.limit.float32",
                "limit.stage_one.float32",
                "limit.share.bfloat16",
                "limit.times_bfloat16.int8",
            },
        ),
        ("mobilenet", {"mobilenet.conv_base", "mobilenet.stage_one", "mobilenet.share"}),
        ("decoding", {"decoding.exact.150", "decoding.scaled.150", "decoding.times.224", "decoding.difference.224"}),
        ("ways", {"ways.slides", "ways.common", "ways.whole.float32", "ways.features.bfloat16", "ways.times.int8"}),
        ("heads", {"heads.keras", "heads.dense", "heads.times", "heads.whole", "heads.search", "heads.search_times"}),
        ("pooled", {"pooled.logistic", "pooled.svm", "pooled.ridge", "pooled.knn", "pooled.forest", "pooled.together"}),
        ("reading", {"reading.sequential", "reading.shuffled", "reading.batches", "reading.first", "reading.npy"}),
        ("growth", {"growth.each.20", "growth.each.200", "growth.straight", "growth.no_op.200", "growth.peak.20"}),
        ("plan", {"plan.new_store.plan.seconds.2000", "plan.changes.scan_changed_files_read.peak.2000"}),
        ("cold", {"cold.python", "cold.import", "cold.help", "cold.info"}),
        ("coordination", {"coordination.efficiency.3", "coordination.rate", "coordination.scheduler"}),
    ],
)
def test_each_part_measures_its_figures(part, keys, bench_photos, tmp_path):
    figures = measure(part, bench_photos, tmp_path)
    assert {figure.part for figure in figures} == {part}
    assert keys <= {figure.key for figure in figures}
    assert len({figure.key for figure in figures}) == len(figures)
    assert all(math.isfinite(sample) and sample >= 0 for figure in figures for sample in figure.samples)


def test_commands_in_one_and_two_processes_are_compared_byte_for_byte(bench_photos, tmp_path, monkeypatch):
    def pretend(*command: str | Path) -> float:
        store, is_plain = Path(command[command.index("--cache") + 1]), "--on" not in command
        (store / "shards").mkdir(parents=True, exist_ok=True)
        for name in ("equal", "other", *["missing"] * is_plain):
            (store / "shards" / f"{name}.h5").write_text("same" if name == "equal" else str(is_plain))
        return 3.0 if is_plain else 2.0

    monkeypatch.setattr(two_processes, "run_command", pretend)
    figures = {figure.key: figure for figure in two_processes.measure(TINY, bench_photos, tmp_path)}
    assert figures["two_processes.speed"].samples == (1.5, 1.5)
    assert figures["two_processes.different"].value == 2
    assert two_processes.measure(TINY, tmp_path / "photos", tmp_path) == []


def test_a_comparison_has_one_sample_per_round(bench_photos, tmp_path):
    figures = {figure.key: figure for figure in PARTS["reading"][1](TINY, bench_photos, tmp_path)}
    assert len(figures["reading.npy"].samples) == len(figures["reading.sequential"].samples) == TINY.rounds
    expected = ratios(figures["reading.sequential"].samples, figures["reading.npy"].samples)
    assert list(figures["reading.sequential_share"].samples) == expected


def test_jobs_are_measured_alternately():
    order = []
    jobs = {name: lambda name=name: float(len(order) + (order.append(name) or 0)) for name in "ab"}
    assert measuring.alternate("calls", 3, jobs) == {"a": [0, 2, 4], "b": [1, 3, 5]}
    assert order == list("ababab")


def test_a_figure_is_the_median_of_its_samples_and_has_a_goal():
    assert figure("part.a", "a", [1.0, 5.0, 2.0], "s").value == 2.0
    assert figure("part.a", "a", 2, "s").reached is None
    assert figure("part.a", "a", 2, "s", at_least=2.0).reached is True
    assert figure("part.a", "a", 2, "s", at_most=1.9).reached is False


def test_the_table_shows_values_goals_and_whether_they_are_reached():
    figures = [
        figure("one.a", "first", 1234.5, "rows/s", at_least=2000.0),
        figure("two.b", "second", 0.1234, "s", at_most=1.0, note="how"),
    ]
    console = Console(width=160, record=True)
    console.print(make_table(figures, {"one": "Heading one", "two": "Heading two"}))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines() if line.strip()]
    assert lines == [
        "what value unit goal reached measured how",
        "Heading one",
        "first 1,234 rows/s at least 2000 NO",
        "Heading two",
        "second 0.123 s at most 1 yes how",
    ]


FIGURES = [
    figure("limit.stage_one.float32", "", 25.0, "images/s"),
    figure("limit.limit.float32", "", 26.0, "images/s"),
    figure("ways.photos", "", 100, ""),
    figure("ways.slides_fixed", "", 8.0, "s"),
    figure("ways.slides_epoch", "", 10.0, "s"),
    figure("ways.common", "", 20.0, "images/s"),
    figure("ways.whole.float32", "", 9.0, "s"),
    figure("ways.scan.float32", "", 0.1, "s"),
    figure("ways.features.float32", "", 7.0, "s"),
    figure("heads.keras", "", 3.0, "s"),
    figure("heads.whole", "", 20.0, "s"),
    figure("reading.first", "", 5_000.0, "rows/s"),
]


def test_the_whole_job_is_estimated_from_rates_and_fixed_costs():
    estimates = {figure.key: figure for figure in whole_job.estimate_whole_job(Sizes(), FIGURES)}
    assert estimates["whole.slides"].value == 8 + 10 * 250 * 10
    assert estimates["whole.common"].value == 25_000 / 20 + 10 * 3
    # Fixed costs (7 s minus 100 photos at 25 per second), scanning, stage one, reading, the head.
    assert estimates["whole.pipeline.float32"].value == 3 + 25 + 1_000 + 5 + 20
    assert estimates["whole.times.float32"].value == pytest.approx(25_008 / 1_053)
    assert estimates["whole.times.float32"].goal == "at least 8"


def test_the_whole_job_needs_all_required_parts():
    assert whole_job.estimate_whole_job(Sizes(), [figure for figure in FIGURES if figure.part != "heads"]) == []


def test_the_picture_is_drawn_only_if_its_figures_were_measured(tmp_path):
    machine = {"processor": "Some processor", "cores": 2, "bf16": "no"}
    figures = [*FIGURES, *whole_job.estimate_whole_job(Sizes(), FIGURES)]
    assert save_plot(tmp_path / "docs" / "bench.png", figures, machine)
    with Image.open(tmp_path / "docs" / "bench.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 300
    assert not save_plot(tmp_path / "none.png", FIGURES, machine)
    assert not (tmp_path / "none.png").exists()


def test_vgg16_takes_thirteen_billion_operations_per_photo():
    import keras

    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(150, 150, 3))
    nested = keras.Sequential([keras.Input((150, 150, 3)), model])
    assert limit.flop_per_image(nested) == limit.flop_per_image(model) == pytest.approx(13.2e9, rel=0.01)


def test_synthetic_photos_are_reproducible_and_all_different(bench_photos, tmp_path):
    photos.make_photos(tmp_path / "again", 10)
    files = sorted((tmp_path / "again").glob("*/*/*.jpg"))
    assert [path.read_bytes() for path in files] == [
        (bench_photos / path.relative_to(tmp_path / "again")).read_bytes() for path in files
    ]
    assert len({path.read_bytes() for path in bench_photos.rglob("*.jpg")}) == TINY.photos


def test_a_subset_keeps_the_splits_and_both_classes(bench_photos, tmp_path):
    assert photos.link_photos(bench_photos, tmp_path / "subset", 20) == 20
    counts = {str(folder.relative_to(tmp_path / "subset")): len(list(folder.iterdir())) for folder in
              (tmp_path / "subset").glob("*/*")}  # fmt: skip
    assert counts == {"train/class_0": 8, "train/class_1": 8, "validation/class_0": 2, "validation/class_1": 2}


def own_photos(folder: Path, per_class: int) -> Path:
    photo_folder(folder, 3, ("few",))
    for label in ("cats", "dogs"):
        (folder / label).mkdir()
        for number in range(per_class):
            pixels = np.random.default_rng([ord(label[0]), number]).integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.jpg")
        (folder / label / "damaged.jpg").write_bytes(b"\xff\xd8\xff and no more")
        (folder / label / "same.jpg").write_bytes((folder / label / "0.jpg").read_bytes())
    return folder


def test_own_photos_are_copied_without_duplicates_and_damaged_files(tmp_path):
    data = own_photos(tmp_path / "data", 15)
    description = photos.draw_photos(data, tmp_path / "drawn", 1_000)
    contents = [path.read_bytes() for path in (tmp_path / "drawn").glob("*/*/*.jpg")]
    assert description.startswith(f"{len(contents)} JPEGs") and 20 <= len(contents) <= 30
    assert len(set(contents)) == len(contents) and all(len(content) > 100 for content in contents)
    assert {path.name for path in (tmp_path / "drawn").glob("*/*")} == {"cats", "dogs"}


def test_too_few_own_photos_are_an_error(tmp_path):
    with pytest.raises(ImagesError, match="are needed"):
        photos.draw_photos(own_photos(tmp_path / "data", 5), tmp_path / "drawn", 1_000)


def test_tiny_images_can_be_decoded_and_all_differ(tmp_path):
    photos.make_tiny(tmp_path, 15, 32)
    photos.make_tiny(tmp_path, 20, 32, 15)
    paths = list(tmp_path.glob("*/*.png"))
    assert len({path.read_bytes() for path in paths}) == len(paths) == 20
    with Image.open(paths[0]) as image:
        assert image.size == (32, 32)


def test_generated_features_are_sparse_and_separable():
    X, y = heads.make_features(1_500)
    assert X.shape == (1_500, 4, 4, 512) and X.dtype == np.float16
    assert 0.2 < (X > 0).mean() < 0.4
    means = X.astype(np.float32).mean(axis=(1, 2))
    direction = means[y == 1].mean(axis=0) - means[y == 0].mean(axis=0)
    assert ((means @ direction > np.median(means @ direction)) == y).mean() > 0.8


def test_generated_pooled_features_are_separable_but_not_by_all_rows():
    X, y = pooled.make_pooled(1_500)
    assert X.shape == (1_500, 1_280) and X.dtype == np.float16
    assert 0.9 < make_head("ridge", alpha=1e3).fit(X[:1_000], y[:1_000]).score(X[1_000:], y[1_000:]) < 0.99


@pytest.mark.parametrize(("scale", "largest"), [(0.01, 4_000), (1, 100_000), (10, 1_000_000)])
def test_sizes_follow_the_scale(scale, largest):
    sizes = Sizes.scaled(scale)
    assert sizes.growth[-1] == largest and set(sizes.growth) <= set(GROWTH)
    assert sizes.subset <= sizes.photos and sizes.rows <= Sizes().rows
    assert Sizes.scaled(1) == Sizes()
    assert sizes.pooled_rows <= 20_066 == Sizes.scaled(4).pooled_rows


def fail() -> None:
    raise ValueError("on purpose")


def test_a_child_returns_its_result_or_an_error_with_the_name_of_the_job(capfd):
    assert measuring.in_child(math.sqrt, 4.0) == 2.0
    with pytest.raises(measuring.ChildFailed, match=r"test_bench\.fail ended with status 1"):
        measuring.in_child(fail)
    assert "on purpose" in capfd.readouterr().err


def test_the_peak_memory_of_a_child_excludes_its_parent():
    ballast = np.ones(50_000_000)
    assert measuring.peak_memory() > ballast.nbytes > measuring.in_child(measuring.peak_memory)


def test_a_failing_command_is_an_error():
    with pytest.raises(measuring.ChildFailed, match="a message"):
        measuring.run_command("-c", "import sys; sys.exit('a message')")


def test_the_bench_writes_table_and_json_and_deletes_its_working_files(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Sizes, "scaled", lambda scale: replace(TINY, rounds=1))
    assert main(["--parts", "reading", "--json", str(tmp_path / "results" / "bench.json")]) == 0
    document = json.loads((tmp_path / "results" / "bench.json").read_text())
    assert {"processor", "cores", "bf16", "tensorflow", "python"} <= set(document["machine"])
    assert set(document["seconds"]) == {"reading"}
    assert all(figure["value"] >= 0 and figure["key"] for figure in document["figures"])
    shown = capfd.readouterr()
    assert "store, in order" in shown.out and "divided by .npy" in shown.out
    assert "reading: " in shown.err and "round 1 of 1" in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_an_unknown_part_and_a_missing_folder_are_errors(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--parts", "limit,speed"])
    assert "speed is no part" in capsys.readouterr().err
    assert main(["--data", str(tmp_path / "none"), "--json", str(tmp_path / "bench.json")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_deletes_its_files(tmp_path, signal_number):
    bench = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench", "--parts", "reading", "--json", tmp_path / "bench.json"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert bench.stderr is not None
    while "filling a store" not in bench.stderr.readline():
        assert bench.poll() is None
    bench.send_signal(signal_number)
    assert "interrupted" in bench.communicate()[1]
    assert bench.returncode == 130
    assert list(tmp_path.iterdir()) == []
