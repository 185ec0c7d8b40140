"""Stage one on a cluster: the bytes of one process, whatever the workers do. Workers are threads of this process."""

import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import (
    ClusterError,
    ClusterFailed,
    ConvBaseSpec,
    StoreError,
    StoreMismatch,
    open_features,
    repair_store,
    scan_images,
    verify_store,
)
from pipeline.cluster import Cluster, run_tasks
from pipeline.extraction import cluster_engine, probe, shard_task
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.decode_ahead import list_tasks
from pipeline.extraction.shard_task import Job, Refusal, ShardComputer, ShardTask, compute_shard, without_shards
from pipeline.images import content_hashes
from pipeline.images.decode import DECODER
from pipeline.images.status import Status
from pipeline.store import Receipt, open_for_writing, open_views
from tests.clusters import cluster_of_threads, here, lose_scheduler, lose_worker, workers_of
from tests.fakes import SPEC, FakeConvBase, extract_features, photo_folder
from tests.store.small_stores import contents_of

pytestmark = pytest.mark.usefixtures("small_shards")
PROBE_IMAGES = probe.IMAGES


def do_nothing() -> None:
    """Start no TensorFlow."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the workers often, and import no TensorFlow."""
    monkeypatch.setattr(run_tasks, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(run_tasks, "NONE_SECONDS", 0.3)
    monkeypatch.setattr(shard_task, "start_tensorflow_quietly", do_nothing)
    monkeypatch.setattr(cluster_engine, "start_tensorflow_quietly", do_nothing)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with cluster_of_threads() as cluster:
        yield cluster


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eighty photos, for ten shards."""
    return photo_folder(tmp_path / "photos", 40)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def plain(photos: Path, tmp_path: Path) -> dict[str, bytes]:
    """The shards that this process makes."""
    extract_features(scan_images(photos), tmp_path / "plain")
    FakeConvBase.seen = FakeConvBase.loads = 0
    return shards_of(tmp_path / "plain")


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let workers call `function(task, compute)` in place of `ShardComputer.compute`."""

    def patch(function: Callable[[ShardTask, Callable[[ShardTask], Any]], Any]) -> None:
        real = ShardComputer.compute
        monkeypatch.setattr(ShardComputer, "compute", lambda self, task: function(task, lambda task: real(self, task)))

    return patch


def shards_of(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((cache / "shards").iterdir())}


class Log(Callbacks):
    """Keep what is reported."""

    def __init__(self) -> None:
        self.images, self.shards, self.rejected = [], [], []

    def progress(self, step, done, total, unit):
        self.images.append((step, done, total))

    def shard_computed(self, host, images, seconds):
        self.shards.append((host, images))

    def image_rejected(self, id, reason):
        self.rejected.append((id, reason))


def test_a_cluster_makes_the_shards_of_one_process(photos, cache, cluster, plain):
    log = Log()
    store = extract_features(scan_images(photos, cluster=cluster), cache, cluster=cluster, callbacks=log)
    assert shards_of(cache) == plain and store.pending == 0 and FakeConvBase.seen == 80
    assert FakeConvBase.loads == 1  # in a process
    assert sum(images for _, images in log.shards) == 80 and len(log.shards) == 10
    assert log.images[0] == ("features", 0, 80) and log.images[-1] == ("features", 80, 80)
    assert verify_store(cache, full=True) == []


loads: queue.SimpleQueue[tuple[str, str, str]] = queue.SimpleQueue()


def note_load(call: shard_task.EngineCall) -> None:
    loads.put((here(), call.method, next(arg for arg in call.args if isinstance(arg, ConvBaseSpec)).precision))


def test_the_other_workers_load_the_conv_base_while_the_first_begins_the_run(photos, cache, cluster, monkeypatch):
    monkeypatch.setattr(cluster_engine, "load_ahead", note_load)
    extract_features(scan_images(photos), cache, replace(SPEC, precision="auto"), cluster=cluster)
    assert loads.get(timeout=5) == (workers_of(cluster)[1], "load_new", "float32")
    assert loads.empty()
    next((cache / "shards").glob("*.h5")).unlink()
    extract_features(scan_images(photos), cache, replace(SPEC, precision="auto"), cluster=cluster)
    assert loads.get(timeout=5)[:2] == (workers_of(cluster)[1], "load_again")


def test_an_up_to_date_store_needs_no_worker(photos, cache, cluster, plain):
    extract_features(scan_images(photos), cache)
    before = contents_of(cache)
    extract_features(scan_images(photos), cache, cluster=cluster)
    assert contents_of(cache) == before and FakeConvBase.loads == 1


def test_new_images_are_added_on_a_cluster(photos, cache, cluster, tmp_path):
    for directory, engine in ((cache, cluster), (tmp_path / "plain", None)):
        extract_features(scan_images(photos), directory, cluster=engine)
    photo_folder(photos, 50)
    for directory, engine in ((cache, cluster), (tmp_path / "plain", None)):
        extract_features(scan_images(photos), directory, cluster=engine)
    assert shards_of(cache) == shards_of(tmp_path / "plain") and len(shards_of(cache)) == 13


def task_of(cache: Path, start: int = 0) -> ShardTask:
    store = open_features(cache)
    (stop,) = (stop for first, stop in store.index.ranges.tolist() if first == start)
    images = tuple(list_tasks(store.index, store.index.ranges[store.index.ranges[:, 0] == start]))
    job = Job(without_shards(store), replace(SPEC, decoder=DECODER), 4, None, False)
    return ShardTask(job, start, stop, images)


def test_a_task_tells_all_that_a_worker_needs_and_is_small(photos, cache):
    extract_features(scan_images(photos), cache, plan_only=True)
    task = task_of(cache)
    for path in [cache / "manifest.json", *cache.glob("index-*")]:
        path.unlink()
    assert len(pickle.dumps(task)) < 6000
    receipt = compute_shard(pickle.loads(pickle.dumps(task)))  # noqa: S301
    assert isinstance(receipt, Receipt) and (receipt.entry.start, receipt.entry.stop) == (0, 8)
    assert 100 < len(pickle.dumps(receipt)) < 1100
    assert shards_of(cache).keys() == {receipt.name}


def test_another_conv_base_is_refused(photos, cache):
    extract_features(scan_images(photos), cache, plan_only=True)
    task = task_of(cache)
    task = replace(task, job=replace(task.job, spec=replace(task.job.spec, weights="random")))
    shard_task._computers.clear()
    refusal = compute_shard(task)
    assert isinstance(refusal, Refusal) and "its conv base is not that of the store: weights" in refusal.reason


def test_a_lost_worker_costs_nothing_but_time(photos, cache, cluster, plain, computing):
    lost = workers_of(cluster)[0]

    def compute(task, compute):
        if here() == lost and task.start >= 24:
            lose_worker(cluster, lost)
            time.sleep(0.3)
        return compute(task)

    computing(compute)
    store = extract_features(scan_images(photos), cache, cluster=cluster)
    assert store.pending == 0 and lost not in workers_of(cluster)
    time.sleep(0.4)  # the lost worker goes on, and writes what nobody waits for
    assert {name: data for name, data in shards_of(cache).items() if name in plain} == plain
    with open_for_writing(cache):  # deletes that
        pass
    assert shards_of(cache) == plain


def test_a_slow_worker_is_overtaken_and_replaces_nothing_when_it_wakes(photos, cache, plain, computing, monkeypatch):
    monkeypatch.setattr(run_tasks, "SLOW_SECONDS", 0.1)
    gate, times = threading.Event(), []

    def compute(task, compute):
        if task.start == 0:
            times.append(here())
            if len(times) == 1:
                gate.wait(20)
        return compute(task)

    computing(compute)
    with cluster_of_threads() as cluster:
        store = extract_features(scan_images(photos), cache, cluster=cluster)
        assert store.pending == 0 and len(set(times)) == 2 and shards_of(cache) == plain
        before = {path: path.stat().st_ino for path in cache.rglob("*") if path.is_file()}
        gate.set()
        deadline = time.monotonic() + 5
        while len(shards_of(cache)) == len(plain) and time.monotonic() < deadline:
            time.sleep(0.01)
    late = set(cache.rglob("*.h5*")) - set(before)
    assert len(late) == 1 and all(path.stat().st_ino == before[path] for path in before if path.suffix == ".h5")
    (finding,) = verify_store(cache, full=True)
    assert finding.problem == "is not listed in the manifest" and "features IMAGES" in finding.remedy
    loads = FakeConvBase.loads
    assert extract_features(scan_images(photos), cache).pending == 0
    assert shards_of(cache) == plain and verify_store(cache, full=True) == [] and FakeConvBase.loads == loads


def test_a_task_that_always_fails_is_named_and_the_others_are_stored(photos, cache, cluster, plain, computing):
    attempts = []

    def compute(task, compute):
        if task.start == 16:
            attempts.append(task.start)
            raise RuntimeError("no luck")
        return compute(task)

    computing(compute)
    with pytest.raises(ClusterFailed, match=r"rows 16 to 24 .*RuntimeError: no luck") as failed:
        extract_features(scan_images(photos), cache, cluster=cluster)
    assert failed.value.exit_status == 1 and len(attempts) == 10
    assert open_features(cache).pending == 8 and len(shards_of(cache)) == 9
    computing(lambda task, compute: compute(task) if task.start != 16 else attempts)
    FakeConvBase.seen = 0
    extract_features(scan_images(photos), cache)  # in this process
    assert shards_of(cache) == plain and FakeConvBase.seen == 8


def test_a_lost_scheduler_keeps_what_was_done_and_the_same_call_continues(photos, cache, plain, computing):
    def compute(task, compute):
        if task.start == 40:
            lose_scheduler(cluster)
        return compute(task)

    with cluster_of_threads() as cluster:
        computing(compute)
        with pytest.raises(ClusterFailed, match="scheduler of the cluster is gone"):
            extract_features(scan_images(photos), cache, cluster=cluster)
    assert 0 < open_features(cache).pending <= 80
    computing(lambda task, compute: compute(task))
    with cluster_of_threads() as cluster:
        FakeConvBase.seen = 0
        extract_features(scan_images(photos), cache, cluster=cluster)
    assert shards_of(cache) == plain and FakeConvBase.seen < 80


def test_an_interruption_keeps_what_arrived(photos, cache, cluster, plain):
    class Interrupt(Log):
        def shard_computed(self, host, images, seconds):
            super().shard_computed(host, images, seconds)
            if len(self.shards) == 3:
                raise KeyboardInterrupt

    log = Interrupt()
    with pytest.raises(KeyboardInterrupt):
        extract_features(scan_images(photos), cache, cluster=cluster, callbacks=log)
    store = open_features(cache)
    assert len(store.manifest.shards) >= 3
    time.sleep(0.2)  # shards in flight are finished by their workers, and adopted
    FakeConvBase.seen = 0
    extract_features(scan_images(photos), cache, cluster=cluster)
    assert shards_of(cache) == plain and FakeConvBase.seen <= store.pending


class TestWithoutImages:
    """A worker on a host where the images are not mounted."""

    @pytest.fixture
    def blind(self, cluster: Cluster, computing: Callable[..., None]) -> list[str]:
        """The workers that do not find the images: the second one."""
        blind = workers_of(cluster)[1:]

        def compute(task, compute):
            time.sleep(0.02)
            if here() not in blind:
                return compute(task)
            images = tuple(image._replace(path="/mnt/nowhere/" + str(image.id)) for image in task.images)
            return compute(replace(task, images=images))

        computing(compute)
        return blind

    def test_it_gets_no_more_tasks_and_no_row_is_lost(self, photos, cache, cluster, plain, blind, caplog):
        store = extract_features(scan_images(photos), cache, cluster=cluster)
        assert shards_of(cache) == plain and store.bad == [] and len(store.members()) == 80
        (line,) = [line for line in caplog.messages if "no more tasks" in line]
        assert line.startswith(blind[0]) and line.endswith("can be read here: are the images mounted there?")

    def test_if_no_worker_has_them_the_run_ends_with_nothing_stored(self, photos, cache, cluster, blind):
        blind[:] = workers_of(cluster)
        with pytest.raises(ClusterError, match="no worker is left"):
            extract_features(scan_images(photos), cache, cluster=cluster)
        assert open_features(cache).pending == 80
        with open_for_writing(cache) as writer:
            assert writer.current.manifest.shards == ()

    def test_an_image_that_is_gone_is_never_written(self, photos, cache, cluster, blind, tmp_path):
        blind.clear()
        images, log = scan_images(photos), Log()
        (photos / "cats" / "003.png").unlink()
        store = extract_features(images, cache, cluster=cluster, callbacks=log)
        extract_features(images, tmp_path / "plain")
        assert shards_of(cache) == shards_of(tmp_path / "plain")
        (bad,) = store.bad
        assert (bad.id, bad.status) == ("cats/003.png", Status.NEVER_WRITTEN)
        assert log.rejected == [("cats/003.png", bad.reason)]

    def test_a_coordinator_that_was_killed_before_it_saw_them_leaves_no_lost_rows(
        self, photos, cache, cluster, plain, blind
    ):
        """The staged shards of the worker are not adopted."""
        extract_features(scan_images(photos), cache, plan_only=True)
        blind[:] = workers_of(cluster)
        for start in range(0, 40, 8):
            task = task_of(cache, start)
            assert isinstance(cluster.call("computing", compute_shard, task), Receipt)
        assert open_features(cache).pending == 80 and len(shards_of(cache)) == 5
        blind.clear()
        assert extract_features(scan_images(photos), cache, cluster=cluster).pending == 0
        assert shards_of(cache) == plain


class TestNumerics:
    """Workers that round differently."""

    @pytest.fixture
    def odd(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, computing: Callable[..., None]
    ) -> dict[str, float]:
        """Workers whose features are larger by a factor; the second one by 1e-6."""
        monkeypatch.setattr(probe, "IMAGES", PROBE_IMAGES)
        factors = {workers_of(cluster)[1]: 1 + 1e-6}
        real_probe, real_compute = ShardComputer.probe, FakeConvBase.compute

        def compute_probe(self: ShardComputer, layout: Any) -> bytes:
            factor = factors.get(here(), 1)
            conv_base = self.engine.loaded()
            if factor == 1:
                return real_probe(self, layout)

            class Odd:
                def compute(self, batch):
                    return real_compute(conv_base, batch) * factor

            return probe.compute_probe(Odd(), layout, 4)

        monkeypatch.setattr(ShardComputer, "probe", compute_probe)
        computing(lambda task, compute: time.sleep(0.02) or compute(task))
        return factors

    def test_a_worker_that_rounds_differently_is_refused_by_name(self, photos, cache, cluster, plain, odd, caplog):
        extract_features(scan_images(photos), cache, cluster=cluster)
        assert shards_of(cache) == plain
        (line,) = [line for line in caplog.messages if "no more tasks" in line]
        assert line.startswith(next(iter(odd))) and "other numbers than the store has, relative L2 difference 9" in line
        assert line.endswith("--mixed admits it")
        assert open_features(cache).manifest.later_makers == ()

    def test_it_is_admitted_with_mixed_and_recorded_shard_by_shard(self, photos, cache, cluster, odd, caplog):
        store = extract_features(scan_images(photos), cache, cluster=cluster, mixed=True)
        assert store.pending == 0 and verify_store(cache, full=True) == []
        assert any("rounds differently and is admitted" in line for line in caplog.messages)
        makers = [store.manifest.makers[entry.maker] for entry in store.manifest.shards]
        assert len(makers) == 10
        others = {maker["numerics"] for maker in makers if "numerics" in maker}
        assert len(others) == 1 and others != {store.manifest.numerics}
        assert 1 <= sum("numerics" in maker for maker in makers) <= 9

    def test_above_the_tolerance_it_is_refused_with_mixed_too(self, photos, cache, cluster, plain, odd, caplog):
        odd[next(iter(odd))] = 1.01
        extract_features(scan_images(photos), cache, cluster=cluster, mixed=True)
        assert shards_of(cache) == plain
        (line,) = [line for line in caplog.messages if "no more tasks" in line]
        assert line.endswith("relative L2 difference 1.0e-02; --mixed admits no more than 1e-04")

    def test_a_later_run_on_other_machines_is_refused(self, photos, cache, cluster, odd, monkeypatch):
        odd.clear()
        monkeypatch.setattr("pipeline.extraction.plan.MAX_ROWS", 8)
        extract_features(scan_images(photos), cache, cluster=cluster, plan_only=True)
        odd.update(dict.fromkeys(workers_of(cluster), 1 + 1e-6))
        with pytest.raises(ClusterError, match="no worker is left"):
            extract_features(scan_images(photos), cache, cluster=cluster)
        cluster._refused.clear()  # as in another process
        assert extract_features(scan_images(photos), cache, cluster=cluster, mixed=True).pending == 0

    def test_a_store_without_numerics_is_checked_with_its_rows(self, photos, cache, cluster, odd, monkeypatch):
        odd.clear()
        extract_features(scan_images(photos), cache)
        assert open_features(cache).manifest.numerics == ""
        photo_folder(photos, 50)
        real = FakeConvBase.compute
        monkeypatch.setattr(FakeConvBase, "compute", lambda self, batch: real(self, batch) * (1 + 1e-6))
        with pytest.raises(StoreMismatch, match=r"cannot be continued here: .*other numbers.*--mixed admits"):
            extract_features(scan_images(photos), cache, cluster=cluster)
        store = extract_features(scan_images(photos), cache, cluster=cluster, mixed=True)
        assert store.pending == 0 and store.manifest.numerics


def test_a_disk_that_is_full_ends_the_run_with_one_line(photos, cache, cluster, monkeypatch):
    def full(layout, content, bad, made_with):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_task, "stage_shard", full)
    with pytest.raises(StoreError, match="cannot be written to: No space left on device; make room"):
        extract_features(scan_images(photos), cache, cluster=cluster)


def test_a_worker_that_cannot_write_is_refused(photos, cache, cluster, plain, monkeypatch, caplog):
    real, odd = shard_task.stage_shard, workers_of(cluster)[1]

    def stage(*args):
        time.sleep(0.02)
        if here() == odd:
            raise PermissionError(13, "Permission denied")
        return real(*args)

    monkeypatch.setattr(shard_task, "stage_shard", stage)
    extract_features(scan_images(photos), cache, cluster=cluster)
    assert shards_of(cache) == plain
    assert [line for line in caplog.messages if line.startswith(odd) and line.endswith("Permission denied")]


def test_a_worker_that_writes_elsewhere_is_refused(photos, cache, cluster, plain, monkeypatch, caplog):
    """Its file system is not the shared one."""
    real, odd = shard_task.stage_shard, workers_of(cluster)[1]

    def stage(layout, *args):
        time.sleep(0.02)
        receipt = real(layout, *args)
        if here() == odd:
            (cache / "shards" / receipt.name).unlink()
        return receipt

    monkeypatch.setattr(shard_task, "stage_shard", stage)
    extract_features(scan_images(photos), cache, cluster=cluster)
    assert shards_of(cache) == plain
    assert [line for line in caplog.messages if line.startswith(odd) and line.endswith("to the same directory?")]


def test_views_are_computed_on_a_cluster(photos, cache, cluster, tmp_path):
    images = scan_images(photos)
    for directory, engine in ((cache, cluster), (tmp_path / "plain", None)):
        extract_features(images, directory, views=3, cluster=engine)
    assert FakeConvBase.loads == 2
    for view, expected in zip(
        open_views(open_features(cache)), open_views(open_features(tmp_path / "plain")), strict=True
    ):
        assert shards_of(view.directory) == shards_of(expected.directory) and view.pending == 0
    assert len(open_views(open_features(cache))) == 2


def test_damaged_shards_are_repaired_on_a_cluster(photos, cache, cluster, plain):
    extract_features(scan_images(photos), cache, cluster=cluster)
    for name in list(plain)[2:5]:
        (cache / "shards" / name).write_bytes(b"damaged")
    result = repair_store(cache, batch_size=4, cluster=cluster)
    assert result.rows == 24 and shards_of(cache) == plain and not result.lost


def test_the_scan_of_a_cluster_is_that_of_one_process(photos, cluster, monkeypatch):
    monkeypatch.setattr(content_hashes, "FILES_PER_CLUSTER_TASK", 7)
    (photos / "cats" / "notes.txt").write_text("no image")
    (photos / "cats" / "bad.png").write_bytes(b"no image")
    calls = []
    images = scan_images(photos, cluster=cluster, on_read=lambda done, total: calls.append((done, total)))
    expected = scan_images(photos)
    assert images.contents.tobytes() == expected.contents.tobytes() and list(images.ids) == list(expected.ids)
    assert images.skipped == expected.skipped
    assert calls[0] == (0, 82) and calls[-1] == (82, 82) and len(calls) == 13


blind_readers: set[str] = set()
other_root = Path("/mnt/nowhere")


def read_files_or_not(files: Any) -> list[bytes | None]:
    time.sleep(0.02)
    if here() in blind_readers:
        files = replace(files, root=other_root)
    return [content for chunk in content_hashes._read_in_threads(files.root, files.ids) for content in chunk]


@pytest.mark.parametrize(("folder", "problem"), [("nowhere", "it cannot read"), ("other", "it reads something else")])
def test_a_worker_without_the_images_reads_nothing_for_the_scan(
    photos, tmp_path, cluster, monkeypatch, caplog, folder, problem
):
    photo_folder(tmp_path / "other", 40, classes=("dogs", "cats"))
    monkeypatch.setitem(globals(), "other_root", tmp_path / folder)
    monkeypatch.setattr(content_hashes, "FILES_PER_CLUSTER_TASK", 7)
    monkeypatch.setattr(content_hashes, "_read_files", read_files_or_not)
    blind_readers.clear()
    blind_readers.add(workers_of(cluster)[1])
    images = scan_images(photos, cluster=cluster)
    assert images.readable.all() and images.contents.tobytes() == scan_images(photos).contents.tobytes()
    (line,) = [line for line in caplog.messages if "no more tasks" in line]
    assert problem in line and "are the images mounted there?" in line
    blind_readers.update(workers_of(cluster))
    with pytest.raises(ClusterError, match="no worker is left"):
        scan_images(photos, cluster=cluster)
