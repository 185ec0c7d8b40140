"""The example scripts run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import photo_folder

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("ten_lines.py", ["random"], ("accuracy", "cats", "dogs")),
        (
            "augmentation.py",
            ["--weights", "random", "--size", "32", "--train", "8", "--views", "2", "--seeds", "1", "--epochs", "1"],
            (
                "| no augmentation | `dense` |",
                "| 2 cached views | `logistic` |",
                "| online, the slides' way | `dense` |",
            ),
        ),
        ("compare_heads.py", ["mobilenet_v2", "random"], ("ridge", "logistic", "dense", "parameters")),
    ],
)
def test_a_script_runs_on_a_folder_of_photos(tmp_path, script, arguments, words):
    photo_folder(tmp_path / "photos", 20)
    finished = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, "photos", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    for word in words:
        assert word in finished.stdout
    assert (tmp_path / "cache").is_dir()


def test_the_three_ways_in_one_table(tmp_path):
    photo_folder(tmp_path / "photos", 20)
    sizes = ["--size", "32", "--views", "2", "--epochs", "1", "--timed", "8", "--rounds", "1"]
    finished = subprocess.run(
        [sys.executable, "-m", "scripts.three_ways", "photos", "--weights", "random", *sizes],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    lines = [line.split("|")[1].strip() for line in finished.stdout.splitlines() if line.startswith("| ")]
    assert lines == ["way", "no augmentation", "with augmentation", "fine-tuned", "fine-tuned, with augmentation"]
