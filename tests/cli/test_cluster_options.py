"""`--on`, `--mixed`, `--plan` and `--part` on the command line."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import ConvBaseSpec, extract_features, open_features, scan_images
from pipeline.cluster import Cluster, run_tasks
from pipeline.extraction import cluster_engine, shard_task
from pipeline.extraction.shard_task import ShardComputer
from tests.clusters import cluster_of_threads, lose_scheduler
from tests.exporting import conv_base_file
from tests.fakes import FakeConvBase, photo_folder

ROOT = Path(__file__).parents[2]
SMALL = ["--size", "8", "--precision", "float32", "--batch-size", "4"]
SPEC = ConvBaseSpec(size=8, precision="float32")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tasks, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr("pipeline.extraction.plan.MAX_ROWS", 4)
    for module in (shard_task, cluster_engine):
        monkeypatch.setattr(module, "start_tensorflow_quietly", int)


@pytest.fixture
def cluster(fake_conv_base: type[FakeConvBase], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster that --on joins, whatever name it gets."""
    with cluster_of_threads() as cluster:
        monkeypatch.setattr("pipeline.cluster.open_cluster", lambda name: contextlib.nullcontext(cluster))
        yield cluster


def shards_of(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((cache / "shards").iterdir())}


def test_features_on_a_cluster(run, photos, tmp_path, cluster):
    status, out, err = run("features", photos, "--cache", tmp_path / "cache", "--on", "tcp://x:1", *SMALL)
    assert (status, err.count("Traceback")) == (0, 0)
    assert "cluster    2 workers on " in out and "20 of 20 images have features" in out
    assert run("features", photos, "--cache", tmp_path / "plain", *SMALL)[0] == 0
    assert shards_of(tmp_path / "cache") == shards_of(tmp_path / "plain")


def test_repair_on_a_cluster(run, photos, tmp_path, cluster):
    run("features", photos, "--cache", tmp_path / "cache", "--on", "x", *SMALL)
    before = shards_of(tmp_path / "cache")
    (tmp_path / "cache/shards" / next(iter(before))).write_bytes(b"")
    status, out, _ = run("repair", tmp_path / "cache", "--on", "x", "--batch-size", "4")
    assert status == 0 and "computed 4 rows again" in out and shards_of(tmp_path / "cache") == before


def last_line(err: str) -> str:
    assert "Traceback" not in err
    return err.strip().splitlines()[-1]


def fail_at(monkeypatch: pytest.MonkeyPatch, start: int, action: Callable[[], object]) -> None:
    real = ShardComputer.compute

    def compute(self, task):
        if task.start == start:
            action()
        return real(self, task)

    monkeypatch.setattr(ShardComputer, "compute", compute)


def raise_error() -> None:
    raise RuntimeError("no luck")


def test_rows_that_cannot_be_computed_are_named_with_status_1(run, photos, tmp_path, cluster, monkeypatch):
    fail_at(monkeypatch, 8, raise_error)
    status, _, err = run("features", photos, "--cache", tmp_path / "cache", "--on", "x", *SMALL)
    assert status == 1 and "rows 8 to 12" in last_line(err) and "tries these again" in last_line(err)
    assert open_features(tmp_path / "cache").pending == 4


def test_a_lost_scheduler_is_one_line_with_status_1(run, photos, tmp_path, cluster, monkeypatch):
    fail_at(monkeypatch, 12, lambda: lose_scheduler(cluster))
    status, _, err = run("features", photos, "--cache", tmp_path / "cache", "--on", "x", *SMALL)
    assert status == 1 and "the scheduler of the cluster is gone" in last_line(err)
    assert "the same command continues" in last_line(err)


def test_an_interruption_is_status_130_and_keeps_what_arrived(run, photos, tmp_path, cluster, monkeypatch):
    from pipeline.cli.display.callbacks import ConsoleCallbacks

    shards = []

    def shard_computed(self, *arguments):
        shards.append(arguments)
        if len(shards) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ConsoleCallbacks, "shard_computed", shard_computed)
    status, _, err = run("features", photos, "--cache", tmp_path / "cache", "--on", "x", *SMALL)
    assert status == 130 and "interrupted" in last_line(err) and "the same command continues" in last_line(err)
    assert len(open_features(tmp_path / "cache").manifest.shards) >= 2


def test_a_plan_its_parts_and_the_run_that_lists_them(run, photos, tmp_path):
    command = ["features", photos, "--cache", tmp_path / "cache", *SMALL]
    status, out, _ = run(*command, "--plan")
    assert status == 0 and "planned: 20 forward passes, about" in out
    for number, rows in ((2, 8), (1, 12), (1, 0)):
        status, out, _ = run(*command, "--part", f"{number}/2")
        assert status == 0 and f"part {number} of 2: {rows} rows computed" in out
    FakeConvBase.seen = FakeConvBase.loads = 0
    status, out, _ = run(*command)
    assert status == 0 and "20 of 20 images have features" in out and FakeConvBase.seen == 0
    assert run(*command, "--plan")[0] == 0  # there is nothing to plan
    run("features", photos, "--cache", tmp_path / "plain", *SMALL)
    assert shards_of(tmp_path / "cache") == shards_of(tmp_path / "plain")


def test_views_have_a_plan_of_their_own(run, photos, tmp_path):
    command = ["features", photos, "--cache", tmp_path / "cache", *SMALL]
    status, out, _ = run(*command, "--views", "2", "--plan")
    assert status == 0 and "planned: 20 forward passes, about" in out
    run(*command)
    train = len(open_features(tmp_path / "cache").members("train"))
    status, out, _ = run(*command, "--views", "2", "--plan")
    assert status == 0 and f"planned: {train} forward passes, about" in out and "made" not in out
    assert f"{train} rows computed" in run(*command, "--part", "1/1")[1]
    FakeConvBase.seen = 0
    status, out, _ = run(*command, "--views", "2")
    assert status == 0 and "train images in 2 views" in out and FakeConvBase.seen == 0


def test_parts_of_a_store_with_random_weights_instead_of_imagenet(run, photos, tmp_path, monkeypatch):
    """--allow-random-weights, where the weights cannot be downloaded."""
    from pipeline.errors import WeightsUnavailable

    def load(spec):
        if spec.weights == "imagenet":
            raise WeightsUnavailable("no network")
        return FakeConvBase(spec)

    monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", load)
    command = ["features", photos, "--cache", tmp_path / "cache", *SMALL, "--allow-random-weights"]
    assert run(*command, "--plan")[0] == 0
    assert run(*command, "--part", "1/1")[0] == 0
    assert run(*command)[0] == 0


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0"])
def test_a_wrong_part_is_one_line_with_status_2(run, photos, tmp_path, text):
    status, _, err = run("features", photos, "--cache", tmp_path / "cache", "--part", text)
    assert status == 2 and last_line(err).endswith(f"'{text}' is not I/N with I from 1 to N")


@pytest.mark.parametrize("name", ["nonsense", "local:0", "no.json"])
def test_a_wrong_engine_is_one_line_with_status_2(run, photos, tmp_path, name):
    status, _, err = run("features", photos, "--cache", tmp_path / "cache", "--on", name)
    assert status == 2 and err.count("\n") == 1 and f"'{name}' is none of local:N" in err
    assert not (tmp_path / "cache").exists()


def test_without_dask_on_is_one_line_with_status_2(run, photos, tmp_path, monkeypatch):
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    status, _, err = run("features", photos, "--cache", tmp_path / "cache", "--on", "local:2")
    assert status == 2 and err.count("\n") == 1 and "pip install dask distributed cryptography" in err


def test_a_part_needs_a_plan(run, photos, tmp_path):
    status, _, err = run("features", photos, "--cache", tmp_path / "cache", "--part", "1/2", *SMALL)
    assert status == 2 and err.count("\n") == 1 and "cache" in err


COORDINATOR = """
import sys
import pipeline.extraction.plan
from pipeline.cli.main import main
if __name__ == "__main__":
    pipeline.extraction.plan.MAX_ROWS = 4
    sys.exit(main(sys.argv[1:]))
"""


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the ids of the worker processes of a coordinator."""
    lists = [path.read_text().split() for path in Path(f"/proc/{process.pid}/task").glob("*/children")]
    ids = [int(child) for children in lists for child in children]
    return [id for id in ids if b"spawn_main" in Path(f"/proc/{id}/cmdline").read_bytes()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_workers_of_this_machine_may_be_killed_and_the_run_interrupted(tmp_path):
    """With real processes: `kill -9` of a worker, then Ctrl-C; this process does the rest."""
    photos, cache = photo_folder(tmp_path / "photos", 80), tmp_path / "cache"
    (tmp_path / "run.py").write_text(COORDINATOR)
    conv_base = conv_base_file(tmp_path / "tiny.keras")
    command = [sys.executable, tmp_path / "run.py", "features", photos, "--cache", cache, "--on", "local:2"]
    command += ["--conv-base", conv_base, "--preprocessing", "rescale", "--size", "24x20", "--precision", "float32"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def wait_for_shards(process: subprocess.Popen[str], count: int) -> None:
        while process.poll() is None and len(list(cache.glob("shards/0*.h5"))) < count:
            time.sleep(0.01)

    process = subprocess.Popen(command, env=environment, start_new_session=True, **options)
    wait_for_shards(process, 2)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    wait_for_shards(process, 6)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert last_line(err).endswith("interrupted: what was finished is kept; the same command continues from there")
    assert 0 < len(open_features(cache).manifest.shards) < 40
    spec = ConvBaseSpec(str(conv_base), preprocessing="rescale", size=(24, 20), precision="float32")
    for directory in (cache, tmp_path / "plain"):
        extract_features(scan_images(photos), directory, spec)
    assert shards_of(cache) == shards_of(tmp_path / "plain")
