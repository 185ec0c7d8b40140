"""`open_cluster`: which names are clusters, and one line for each that is none."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import ClusterError
from pipeline.cluster import connect, open_cluster

PLAIN_RUN = """
import sys
import pipeline
from pipeline.cli.main import main
from tests.fakes import FakeConvBase
import pipeline.cli.console, pipeline.conv_base.load
pipeline.conv_base.load.load_conv_base = FakeConvBase
pipeline.cli.console.start_tensorflow_quietly = lambda: None
status = main(["features", *sys.argv[1:]])
print(status, {"dask", "distributed"} & set(sys.modules))
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 0.5)


def port_where_nobody_listens() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def refused(name: object) -> str:
    """Return the line that says why a name is no cluster."""
    with pytest.raises(ClusterError) as error, open_cluster(str(name)):
        pass
    assert error.value.exit_status == 2 and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "nonsense",
        "local:0",
        "local:",
        "local:-1",
        "local:two",
        "",
        "/no/such/file.json",
        "foo://localhost:1",
        "tcp://",
        "tcp://localhost",
        "tcp://localhost:x",
        "://",
    ],
)
def test_a_name_of_no_cluster_is_one_line(name):
    assert refused(name) == f"{name!r} is none of local:N, tcp://HOST:PORT, and the path of a scheduler file"


def test_tls_without_certificates_is_one_line():
    assert refused("tls://localhost:1").startswith("no scheduler answers at tls://localhost:1 (")


def test_a_port_where_nobody_listens_is_one_line():
    name = f"tcp://127.0.0.1:{port_where_nobody_listens()}"
    line = refused(name)
    assert line.startswith(f"no scheduler answers at {name} (") and line.endswith("; start it first")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"tcp"', "\0"])
def test_a_file_that_is_no_scheduler_file_is_one_line(tmp_path, text):
    path = tmp_path / "scheduler.json"
    path.write_text(text)
    assert refused(path) == f"{path} is no file that `dask scheduler --scheduler-file {path}` wrote"


def test_a_scheduler_file_of_a_scheduler_that_is_gone_is_one_line(tmp_path):
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": f"tcp://127.0.0.1:{port_where_nobody_listens()}"}))
    assert refused(path).startswith(f"no scheduler answers at {path} (")


def test_without_dask_there_is_one_line_that_says_what_to_install(monkeypatch):
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    assert refused("local:2") == "Dask is not installed: pip install dask distributed cryptography"


def test_a_cluster_without_workers_is_waited_for(tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(connect, "WORKER_SECONDS", 0)
    with LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address="localhost:0") as empty:
        assert "has no workers; start some" in refused(empty.scheduler_address)


def test_a_plain_run_needs_no_dask_and_the_test_can_fail(photos: Path, tmp_path: Path):
    def run(*options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PLAIN_RUN, photos, "--cache", tmp_path / "cache", *options]
        environment = {**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2])}
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=True)

    assert run().stdout.splitlines()[-1] == "0 set()"
    words = run("--on", "nonsense").stdout.split()
    assert words[0] == "2" and "distributed" in " ".join(words)
