"""The Makefile names one store per data set; setup.cfg names every package that is imported."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL"}  # distributions whose module has another name
NOT_OF_PYPI = {*sys.stdlib_module_names, "pipeline", "scripts", "tests"}


def default_cache(*variables: str, folder: Path = ROOT) -> str:
    command = ["make", "--silent", "--eval", "print-cache: ; @echo '$(CACHE)'", "print-cache", *variables]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("variables", "cache"),
    [
        ((), "cache/digits-vgg16-150"),
        (("DATA=photos",), "cache/photos-vgg16-150"),
        (("DATA=photos/", "SIZE=224", "CUT=top1"), "cache/photos-vgg16-224-top1"),
        (("DATA=photos", "CONV_BASE=models/mine.keras"), "cache/photos-mine-150"),
        (("DATA=photos", "CONV_BASE=./dinov2-small/"), "cache/photos-dinov2-small-150"),
        (("DATA=a/photos.2023",), "cache/a+photos.2023-vgg16-150"),
        (("DATA=../photos.csv",), "cache/..+photos.csv-vgg16-150"),
        (("DATA=/data/my photos",), "cache/+data+my photos-vgg16-150"),
    ],
)
def test_the_default_store_of_a_data_set(variables, cache):
    assert default_cache(*variables) == cache


def test_a_store_under_the_name_of_version_0_1_0_is_found(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "cache/photos-vgg16-150").mkdir(parents=True)
    manifest = tmp_path / "cache/photos-vgg16-150/manifest.json"
    manifest.write_text(f'{{"images": {{\n "root": "{tmp_path}/a/photos"\n}}}}')
    assert default_cache("DATA=a/photos", folder=tmp_path) == "cache/photos-vgg16-150"
    assert default_cache("DATA=b/photos", folder=tmp_path) == "cache/b+photos-vgg16-150"


def test_make_heads_takes_no_images_for_joined_stores(tmp_path):
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for name, text in {"x+y": "{}", "b": "{}", "x+y+b": '{\n "spec": {\n  "joined": []}}'}.items():
        (tmp_path / "cache" / name).mkdir(parents=True)
        (tmp_path / "cache" / name / "manifest.json").write_text(text)
    for cache, is_joined in {"x+y": False, "b": False, "x+y+b": True, "x+y+cache/b": True, "x+new": False}.items():
        command = ["make", "--dry-run", "heads", f"CACHE=cache/{cache}", "DATA=photos"]
        lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert f'pipeline heads "cache/{cache}"' in lines
        assert ("pipeline features" not in lines) == is_joined, cache


def test_different_data_sets_have_different_default_stores():
    sources = [
        "photos",
        "photos.csv",
        "a/photos",
        "b/photos",
        "a/photos.2023",
        "a/photos.2024",
        "/a/photos",
        "../photos",
    ]
    assert len({default_cache(f"DATA={source}") for source in sources}) == len(sources)


def imported_packages(folder: str) -> set[str]:
    packages = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                packages |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                packages.add(node.module.partition(".")[0])
    return packages - NOT_OF_PYPI


def required_packages(section: str, option: str) -> set[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    names = [re.split(r"[\s<>=~!\[]", line)[0] for line in config[section][option].split("\n") if line.strip()]
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def test_every_imported_package_is_required():
    required = required_packages("options", "install_requires")
    extras = ("onnx", "hub", "cluster", "dev")
    onnx, hub, cluster, dev = (required_packages("options.extras_require", extra) for extra in extras)
    assert imported_packages("pipeline") | imported_packages("scripts") <= required | onnx | hub | cluster
    assert imported_packages("tests") <= required | onnx | dev
    assert cluster | hub | (onnx - {"tf2onnx"}) <= dev


def test_every_required_package_is_imported():
    assert required_packages("options", "install_requires") <= imported_packages("pipeline")
