import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from tests.fakes import FakeConvBase, check_here, photo_folder


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tables be as wide as they need, although pytest's workers set a width."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def no_child_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check untrusted files in this process, which saves 0.2 s per file; tests/files tests the child process."""
    if "tests/files" not in request.node.nodeid:
        monkeypatch.setattr("pipeline.files.check_untrusted.check_in_child", check_here)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write twenty photos into two class folders."""
    return photo_folder(tmp_path / "photos")


@pytest.fixture
def fake_conv_base(monkeypatch: pytest.MonkeyPatch) -> type[FakeConvBase]:
    """Let stage one run on the fake, whose class counts loads and images."""
    monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", FakeConvBase)
    monkeypatch.setattr(FakeConvBase, "seen", 0)
    monkeypatch.setattr(FakeConvBase, "loads", 0)
    return FakeConvBase
