"""Layers, and what importing the package costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pipeline"

# A module imports only from the rows above its own, or from inside its own package.
LAYERS = (
    {"errors", "defaults", "text", "status"},
    {"files"},
    {"augment", "table", "resize"},
    {"images"},
    {"spec", "decode", "sample"},
    {"conv_base"},
    {"store"},
    {"heads"},
    {"scoring", "evaluation"},
    {"plots", "plan", "matching", "pack", "saved"},
    {"progress"},
    {"rows"},
    {"extract", "extraction"},
    {"trained"},
    {"train", "training"},
    {"finetune"},
    {"similar", "duplicates"},
    {"predict"},
    {"export"},
    {"verify"},
    {"repair"},
    {"maintenance"},
    {"console"},
    {"page", "report"},
    {"arguments"},
    {"ending", "display"},
    {"verbs"},
    {"cli"},
    {"__main__", "__init__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports_of(path: Path) -> list[str]:
    """Modules of this package that a file imports, by their first name below `pipeline`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pipeline":
            parts = node.module.split(".")
            found += [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pipeline.")]
    return found


def home_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_has_a_layer():
    assert {home_of(path) for path in FILES} <= set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    home = home_of(path)
    upward = [name for name in imports_of(path) if name != home and LEVEL[name] >= LEVEL[home]]
    type_only = {"progress": {"plan", "store", "spec"}}.get(home, set())
    assert not set(upward) - type_only


def test_an_upward_import_would_be_seen(tmp_path):
    (tmp_path / "spec.py").write_text("from pipeline.cli.main import main\nimport pipeline.train\n")
    assert imports_of(tmp_path / "spec.py") == ["cli", "train"]


def modules_after(code: str) -> set[str]:
    lines = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name.split(".")[0] for name in lines.split()}


def test_importing_the_package_imports_neither_tensorflow_nor_scikit_learn():
    loaded = modules_after("import pipeline; from pipeline import ConvBaseSpec")
    assert not loaded & {"tensorflow", "keras", "sklearn", "h5py", "matplotlib"}
    assert "pipeline" in loaded


def test_scanning_and_reading_a_store_import_no_tensorflow():
    code = "from pipeline import scan_images, extract_features, open_features, make_head"
    assert not modules_after(code) & {"tensorflow", "keras", "sklearn"}


def test_the_import_test_can_fail():
    assert "h5py" in modules_after("import h5py")


def test_the_public_names_are_there_whatever_was_imported_first():
    code = "import pipeline.evaluation, pipeline.training.train\nimport pipeline\n"
    code += "for n in pipeline.__all__: getattr(pipeline, n)\n"
    code += "from pipeline import evaluate; assert callable(evaluate)"
    assert "pipeline" in modules_after(code)
