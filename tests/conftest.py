from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from tests.fakes import FakeConvBase, photo_folder


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as they like, though a worker of pytest is told a width."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty photos in two class folders."""
    return photo_folder(tmp_path / "photos")


@pytest.fixture
def fake_conv_base(monkeypatch: pytest.MonkeyPatch) -> type[FakeConvBase]:
    """Stage one runs on the fake; the class counts loads and images."""
    monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", FakeConvBase)
    monkeypatch.setattr(FakeConvBase, "seen", 0)
    monkeypatch.setattr(FakeConvBase, "loads", 0)
    return FakeConvBase
