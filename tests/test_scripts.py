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
