"""The order of the modules, and what importing the package costs."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pipeline"
MODULES = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
FILES = sorted(PACKAGE.rglob("*.py"))
TOP = ("__init__", "__main__")  # the public names, loaded when they are used, and `python -m pipeline`


def imported_files(path: Path, package: Path = PACKAGE) -> set[Path]:
    """The files of the package that a file imports, anywhere in it; of `from module import file` the file."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    found = {_file_of(name.split("."), package) for name in names if name.split(".")[0] == "pipeline"}
    return {file for file in found if file is not None and file != path}


def _file_of(parts: list[str], package: Path) -> Path | None:
    """The file that holds a dotted name: a Python module, that of a name, or a package's `__init__.py`."""
    for n in range(len(parts), 1, -1):
        place = package.joinpath(*parts[1:n])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def module_of(path: Path, package: Path = PACKAGE) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def upward_imports(path: Path, package: Path = PACKAGE) -> set[str]:
    """The modules below its own, or unknown ones, that a file imports from."""
    above = MODULES[: MODULES.index(module_of(path, package)) + 1]
    return {module_of(file, package) for file in imported_files(path, package)} - set(above)


def circle(files: list[Path], package: Path = PACKAGE) -> list[str]:
    """Files that import one another in a circle; empty if there are none."""
    try:
        TopologicalSorter({file: imported_files(file, package) for file in files}).prepare()
    except CycleError as error:
        return [str(file.relative_to(package)) for file in error.args[1]]
    return []


def test_every_module_is_in_the_table():
    assert {module_of(path) for path in FILES} == {*MODULES, *TOP}


def test_every_file_that_the_architecture_guide_names_exists():
    named = re.findall(r"`(\w+(?:/\w+)+\.py)`", (ROOT / "docs/architecture.md").read_text())
    assert len(named) > 20 and not [
        name for name in named if not (PACKAGE / name).is_file() and not (ROOT / name).is_file()
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_modules_above_it(path):
    assert module_of(path) in TOP or not upward_imports(path)


def test_no_file_is_part_of_a_circle():
    assert circle(FILES) == []


def test_an_upward_import_and_a_circle_would_be_seen(tmp_path):
    for name, text in {
        "conv_base/spec.py": "def f():\n    from pipeline.cli.main import main\n",
        "cli/main.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pipeline.cli import exit\n",
        "cli/exit.py": "import pipeline.cli.main\n",
        "cli/__init__.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert upward_imports(tmp_path / "conv_base/spec.py", tmp_path) == {"cli"}
    assert set(circle(sorted(tmp_path.rglob("*.py")), tmp_path)) == {"cli/main.py", "cli/exit.py"}


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


def test_optional_packages_are_imported_only_for_what_needs_them():
    loaded = modules_after("import pipeline.extraction.local_engine, pipeline.export.load, pipeline.conv_base.load")
    assert not {"keras_hub", "tensorflow_text", "safetensors", "onnx", "onnxruntime", "dask"} & set(loaded)


def test_the_import_test_can_fail():
    assert "h5py" in modules_after("import h5py")


def test_the_public_names_are_there_whatever_was_imported_first():
    code = "import pipeline.evaluation, pipeline.training.train_heads\nimport pipeline\n"
    code += "for n in pipeline.__all__: getattr(pipeline, n)\n"
    code += "from pipeline import evaluate; assert callable(evaluate)"
    assert "pipeline" in modules_after(code)
