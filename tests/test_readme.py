"""The README agrees with the code."""

import re
from pathlib import Path

import pytest

from pipeline.evaluation import Evaluation
from pipeline.heads import head_names
from tests.fakes import photo_folder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_script_in_the_readme_runs(tmp_path, monkeypatch, capsys, fake_conv_base):
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    photo_folder(tmp_path / "photos", 30)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(script, names)
    assert "accuracy" in capsys.readouterr().out
    assert len(names["store"].members()) == 60 and fake_conv_base.seen == 60
    report = Evaluation(0.5, 0.5, None, 0, (), [], [])
    for name in re.findall(r"\.(\w+)", script.split("# Evaluation:")[1].splitlines()[0]):
        assert hasattr(report, name)


def test_every_head_is_explained():
    for name in head_names():
        assert f"| `{name}` |" in (ROOT / "docs/heads.md").read_text()


def test_no_placeholder_is_left():
    assert "@@" not in README


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^(?:\$ )?make ([a-z-]+)", README, re.MULTILINE))))
def test_every_make_target_exists(command):
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    assert re.search(rf"^{command}:", makefile, re.MULTILINE)
