"""The example scripts run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import ConvBaseSpec, extract_features, open_features, scan_images
from pipeline.cli.exit import one_line_errors
from pipeline.errors import SpecError, StoreDamaged
from scripts import compare_joined, train_images
from scripts.augmentation import rows_of_images
from tests.fakes import photo_folder

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("ten_lines.py", ["--weights", "random"], ("accuracy", "cats", "dogs")),
        (
            "augmentation.py",
            ["--weights", "random", "--size", "32", "--train", "8", "--views", "2", "--seeds", "1", "--epochs", "1"],
            (
                "| no augmentation | `dense` |",
                "| 2 cached views | `logistic` |",
                "| online, end-to-end training | `dense` |",
            ),
        ),
        (
            "compare_heads.py",
            ["--conv-base", "mobilenet_v2", "--weights", "random"],
            ("ridge", "logistic", "dense", "parameters"),
        ),
    ],
)
def test_a_script_runs_on_a_folder_of_photos(tmp_path, script, arguments, words):
    photo_folder(tmp_path / "photos", 20)
    finished = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, "photos", *arguments],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    for word in words:
        assert word in finished.stdout
    assert (tmp_path / "cache").is_dir()


def test_three_ways_prints_one_table(tmp_path):
    photo_folder(tmp_path / "photos", 20)
    sizes = ["--size", "32", "--views", "2", "--epochs", "1", "--timed", "8", "--rounds", "1"]
    finished = subprocess.run(
        [sys.executable, "-m", "scripts.three_ways", "photos", "--weights", "random", *sizes],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    lines = [line.split("|")[1].strip() for line in finished.stdout.splitlines() if line.startswith("| ")]
    assert lines == ["way", "1 no augmentation", "2 with augmentation", "3 fine-tuning", "2 and 3 together"]
    assert max(map(len, finished.stdout.splitlines())) <= 100
    assert finished.stdout.startswith("35 train and 5 validation images")
    assert re.search(r"\d+ passes of mobilenet_v2 in all", finished.stderr)
    assert "epoch 1/10: " in finished.stderr


def test_compare_joined_prints_one_table(tmp_path, fake_conv_base, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = scan_images(photo_folder(tmp_path / "photos", 20))
    for name, size in {"a": 8, "b": 16}.items():
        extract_features(images, tmp_path / name, ConvBaseSpec(size=size))
    compare_joined.main(["a", "b"], ["ridge", "logistic"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("35 train and 5 validation images")
    assert lines[2] == "| head | a (3) | b (3) | a+b (6) | joined minus the better one |"
    for line, head in zip(lines[4:], ("ridge", "logistic"), strict=True):
        assert re.fullmatch(rf"\| {head} (\| [01]\.\d{{4}} ){{3}}\| [+-]0\.\d{{4}} \(.* to .*\) \|", line)


def test_train_images_prints_a_row_for_each_number_of_images(tmp_path, fake_conv_base, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = scan_images(photo_folder(tmp_path / "photos", 40))
    for name, size in {"a": 8, "b": 16}.items():
        extract_features(images, tmp_path / name, ConvBaseSpec(size=size))
    train_images.main(["a", "b"], "ridge", 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| train images of each class | a | b |"
    counts = [int(line.split("|")[1]) for line in lines[4:]]
    labels = open_features("a").images.labels[open_features("a").members("train")]
    assert counts == [10, 30, min(labels.tolist().count(label) for label in (0, 1))]
    assert all(re.fullmatch(r"\| \d+ (\| [01]\.\d{3} ± 0\.\d{3} ){2}\|", line) for line in lines[4:])


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("ten_lines", ["missing"]),
        ("compare_heads", ["missing"]),
        ("compare_joined", ["missing", "stores"]),
        ("train_images", ["missing"]),
        ("contact_sheet", ["missing", "sheet.png"]),
        ("augmentation", ["missing"]),
        ("three_ways", ["missing"]),
        ("finetune_speed", ["--conv-base", "missing", "--images", "4", "--size", "32"]),
    ],
)
def test_an_error_is_one_line_and_status_2(tmp_path, script, arguments):
    finished = subprocess.run(
        [sys.executable, "-m", f"scripts.{script}", *arguments],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"{script}: ")
    assert "missing" in line


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (SpecError("no such\nconv base"), 2, "no such conv base"),
        (StoreDamaged("shard 3 differs"), 1, "shard 3 differs"),
        (OSError(28, "No space left on device"), 1, "[Errno 28] No space left on device"),
        (MemoryError(), 1, "out of memory; try smaller batches or fewer heads"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_that_stops_a_script_is_one_line_and_a_status(error, status, words, capsys, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *of: None)
    with pytest.raises(SystemExit) as stopped, one_line_errors("three_ways"):
        raise error
    assert stopped.value.code == status
    assert capsys.readouterr().err == f"three_ways: {words}\n"


def test_a_programming_error_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *of: None)
    with pytest.raises(ZeroDivisionError), one_line_errors("three_ways"):
        raise ZeroDivisionError


def test_rows_of_an_image_where_a_view_lacks_some():
    groups = np.array([0, 1, 2, 0, 2, 0, 1, 2])  # three views, the second without image 1
    assert rows_of_images(groups, np.array([1, 2])).tolist() == [1, 2, 4, 6, 7]
