import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pipeline.cli.main import main
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
        for module in ("int8", "onnx_conv_base"):
            monkeypatch.setattr(f"pipeline.conv_base.{module}.check_in_child", check_here)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write twenty photos into two class folders."""
    return photo_folder(tmp_path / "photos")


@pytest.fixture
def fake_conv_base(monkeypatch: pytest.MonkeyPatch) -> type[FakeConvBase]:
    """Let stage one run on the fake, whose class counts loads and images, and verbs start without TensorFlow."""
    monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", FakeConvBase)
    monkeypatch.setattr("pipeline.extraction.probe.IMAGES", ())  # which would be counted
    monkeypatch.setattr("pipeline.cli.console.start_tensorflow_quietly", lambda: None)
    monkeypatch.setattr(FakeConvBase, "seen", 0)
    monkeypatch.setattr(FakeConvBase, "loads", 0)
    return FakeConvBase


@pytest.fixture
def small_shards(fake_conv_base: type[FakeConvBase], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stage one run on the fake and write shards of eight rows."""
    monkeypatch.setattr("pipeline.extraction.plan.MAX_ROWS", 8)


@pytest.fixture
def run(fake_conv_base: type[FakeConvBase], capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str, str]]:
    """Run a command on the fake conv base: exit status, standard output, standard error."""

    def call(*arguments: object) -> tuple[Any, str, str]:
        try:
            status: Any = main([str(argument) for argument in arguments])
        except SystemExit as exit:
            status = exit.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """Start a Dask cluster of two workers in this process."""
    from distributed import Client

    with Client(
        processes=False, n_workers=2, threads_per_worker=2, memory_limit=0, dashboard_address=":0", silence_logs=50
    ) as client:
        yield client


@pytest.fixture
def cluster(client: Any) -> Any:
    """Return a cluster of two workers in this process."""
    from pipeline.cluster import Cluster

    return Cluster(client, "in this process", 1)
