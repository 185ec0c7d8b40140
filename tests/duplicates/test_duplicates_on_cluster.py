"""A search on a cluster finds what the plain search finds, and leaves nothing in the store."""

import contextlib

import pytest

from pipeline import find_duplicates
from pipeline.cli.main import main
from pipeline.duplicates import on_cluster, similar_features
from pipeline.errors import ClusterFailed, PipelineError
from pipeline.extraction.callbacks import Callbacks
from pipeline.files.scratch import scratch_directory
from tests.duplicates.pictures import store_of
from tests.fakes import Recorder


@pytest.fixture
def small_tasks(monkeypatch):
    """Let a search of some thirty rows have many tasks."""
    monkeypatch.setattr(similar_features, "BLOCK_ROWS", 4)
    monkeypatch.setattr(on_cluster, "ROWS_PER_TASK", 5)
    monkeypatch.setattr(on_cluster, "BLOCKS_PER_TASK", 3)


def scratch_files(store):
    return [path.name for path in store.directory.iterdir() if "duplicates" in path.name]


@pytest.mark.parametrize(("threshold", "max_pairs"), [(0.7, 10), (-1.0, 1)])
def test_the_pairs_and_their_numbers_are_those_of_the_plain_search(
    folder, copies, fake_conv_base, cluster, small_tasks, monkeypatch, threshold, max_pairs
):
    monkeypatch.setattr(similar_features, "MAX_PAIRS", max_pairs)
    store = store_of(folder)
    (folder / "train" / "cats" / "06.png").unlink()  # is compared by its features alone
    plain = find_duplicates(store, threshold=threshold)
    assert find_duplicates(store, threshold=threshold, cluster=cluster) == plain
    assert len(plain.pairs) >= len(copies) and scratch_files(store) == []


def test_progress_is_reported_from_zero_to_the_total(folder, copies, fake_conv_base, cluster, small_tasks):
    calls = []
    find_duplicates(store_of(folder), callbacks=Recorder(calls), cluster=cluster)
    for step in ("reading", "standardising", "comparing"):
        counts = [(done, total) for name, done, total, _ in calls if name == step]
        assert counts[0][0] == 0 and counts[-1][0] == counts[-1][1] and counts == sorted(counts)


def test_a_task_that_fails_for_good_is_named_and_nothing_is_left(
    folder, fake_conv_base, cluster, small_tasks, monkeypatch
):
    read_rows = on_cluster.read_rows

    def fail(task):
        if task.start == 5:
            raise OSError("no disk")
        return read_rows(task)

    monkeypatch.setattr(on_cluster, "read_rows", fail)
    store = store_of(folder)
    with pytest.raises(ClusterFailed, match=r"^rows 5 to 10 could not be computed on the cluster: OSError: no disk"):
        find_duplicates(store, cluster=cluster)
    assert scratch_files(store) == []


def test_an_interruption_leaves_nothing_and_a_killed_search_is_cleaned_up(folder, fake_conv_base, cluster):
    class Interrupt(Callbacks):
        def progress(self, step, done, total, unit):
            if step == "comparing":
                raise KeyboardInterrupt

    store = store_of(folder)
    with pytest.raises(KeyboardInterrupt):
        find_duplicates(store, cluster=cluster, callbacks=Interrupt())
    (store.directory / ".duplicates-0123").mkdir()
    (store.directory / ".duplicates-0123" / "rows").write_bytes(b"of a killed search")
    find_duplicates(store, cluster=cluster)
    assert scratch_files(store) == []


def test_two_searches_of_a_store_do_not_share_files(folder, fake_conv_base, cluster):
    store = store_of(folder)
    with (
        scratch_directory(store.directory, "duplicates"),
        pytest.raises(PipelineError, match="is being written to by another process"),
    ):
        find_duplicates(store, cluster=cluster)


def test_a_worker_without_the_store_or_the_images_gets_no_tasks(folder, copies, fake_conv_base, cluster, monkeypatch):
    """The second worker sees neither; it is found out by its first task, and the pairs are complete."""
    from distributed import get_worker

    blind = list(cluster._client.scheduler_info()["workers"])[1]
    read_grey = on_cluster.read_grey
    store = store_of(folder)
    plain = find_duplicates(store)

    def unread(images, workers=None):
        try:
            is_blind = get_worker().address == blind
        except ValueError:
            is_blind = False
        return (None for _ in images) if is_blind else read_grey(images, workers)

    monkeypatch.setattr(on_cluster, "read_grey", unread)
    monkeypatch.setattr(on_cluster, "ROWS_PER_TASK", 2)
    assert find_duplicates(store, cluster=cluster) == plain
    assert "are the images mounted there?" in cluster._refused[blind]


def test_the_command_gives_the_same_list(folder, copies, fake_conv_base, cluster, monkeypatch, capsys):
    monkeypatch.setattr("pipeline.cluster.open_cluster", lambda name: contextlib.nullcontext(cluster))
    store = store_of(folder)
    assert main(["duplicates", str(store.directory)]) == 1
    plain = capsys.readouterr().out.splitlines()[1:]
    assert main(["duplicates", str(store.directory), "--on", "local:2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("cluster    2 workers on ") for line in lines)
    assert lines[-len(plain) :] == plain


def test_the_bench_computes_the_time_of_many_workers_from_the_rate_of_one():
    from scripts.bench.duplicates_rate import measure_duplicates_rate

    rate, whole = measure_duplicates_rate(300)
    assert rate.value > 0 and whole.value == pytest.approx(1_000_000**2 / 2 / rate.value / 32 / 60)
    assert "44,850 pairs of 300 x 1,280" in rate.note and "computed" in whole.note
