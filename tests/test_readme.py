"""The README agrees with the code."""

import re
from pathlib import Path

import pytest

from pipeline.cli.main import parser
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


def commands_of_the_guides() -> list[str]:
    """Return the commands in blocks of the guides, with numbers for variables."""
    text = "".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    blocks = "".join(re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    commands = re.findall(r"python -m pipeline ([^\"&\n]+)", blocks)
    return sorted({re.sub(r"\$\(\(.*?\)\)|\$\w+", "1", command) for command in commands})


@pytest.mark.parametrize("command", commands_of_the_guides())
def test_every_command_of_the_guides_has_the_options_of_its_verb(command):
    words = command.split()
    assert parser(words).parse_args(words).verb == words[0]


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_every_link_to_a_guide_leads_somewhere(path):
    for target, heading in re.findall(r"\]\((?!https?:)([\w./-]*)(?:#([\w-]+))?\)", path.read_text()):
        guide = path.parent / target if target else path
        assert guide.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)", guide.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}
