"""`TaskRun` gives a result for each task, whatever happens to the workers."""

import platform
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from pipeline.cluster import Cluster, run_tasks
from pipeline.errors import ClusterError, ClusterFailed, SpecError
from tests.clusters import add_worker, cluster_of_threads, here, lose_scheduler, lose_worker, workers_of

# The workers are threads of this process, and see these.
gate, calls, bad_workers = threading.Event(), Counter[object](), set[str]()
lock = threading.Lock()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look at the workers often, and call a task slow soon."""
    monkeypatch.setattr(run_tasks, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(run_tasks, "NONE_SECONDS", 0.3)
    monkeypatch.setattr(run_tasks, "SLOW_SECONDS", 0.1)
    gate.clear()
    calls.clear()
    bad_workers.clear()
    yield
    gate.set()  # ends functions that wait


@pytest.fixture
def cluster(quick: None) -> Iterator[Cluster]:
    with cluster_of_threads() as cluster:
        yield cluster
        gate.set()


def count(task: object) -> int:
    """Count a call of a task; return which it is, from 1."""
    with lock:
        calls[task] += 1
        return calls[task]


def square(task: int) -> int:
    count(task)
    return task * task


def wait_first_time(task: int) -> int:
    """Wait for `gate` in the first call of task 0; the result tells which call it is of."""
    number = count(task)
    if task == 0 and number == 1:
        gate.wait(10)
    return number


def wait(task: int) -> None:
    count(task)
    gate.wait(10)


def fail_always_if_0(task: int) -> int:
    count(task)
    if task == 0:
        raise RuntimeError("no\nluck")
    return task


def fail_nine_times(task: int) -> int:
    if count(task) < 10:
        raise OSError("for a while")
    return task


def where(task: int) -> str:
    count(task)
    time.sleep(0.01)
    return here()


def wait_then_fail(task: int) -> int:
    """Task 0: the first call waits and fails, the second waits longer and is done."""
    number = count(task)
    if task == 0:
        if number == 1:
            gate.wait(10)
            raise RuntimeError("late")
        time.sleep(0.8)
    return number


def collect(run: run_tasks.TaskRun[int]) -> dict[int, object]:
    return {result.task: result.value for results in run for result in results}


def test_each_task_has_one_result(cluster):
    run = cluster.run(square, range(100))
    results = [result for results in run for result in results]
    assert sorted((result.task, result.value) for result in results) == [(i, i * i) for i in range(100)]
    assert run.failed == [] and set(calls.values()) == {1}
    assert {result.worker.address for result in results} <= set(workers_of(cluster))
    assert all(result.worker.host and result.seconds >= 0 for result in results)


def test_no_tasks_need_no_worker(cluster):
    assert collect(cluster.run(square, [])) == {}


def test_tasks_are_made_as_they_are_needed(cluster):
    made = []
    run = cluster.run(square, (made.append(i) or i for i in range(1000)))
    next(iter(run))
    assert len(made) < 30


def test_what_has_not_begun_is_cancelled_when_the_iteration_ends(cluster):
    run = cluster.run(wait_first_time, iter([0, 0, 0, 0, 0, 0]))
    for results in run:
        assert results
        break
    begun = sum(calls.values())
    gate.set()
    time.sleep(0.1)
    assert sum(calls.values()) <= begun + 4  # threads of the workers


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_task_of_a_lost_worker_is_done_by_another_one(n_workers):
    with cluster_of_threads(n_workers) as cluster:
        run = cluster.run(wait_first_time, range(20))
        thread = threading.Timer(0.1, lambda: (add_worker(cluster), lose_worker(cluster, workers_of(cluster)[0])))
        thread.start()
        values = collect(run)
        thread.join()
        gate.set()
    assert sorted(values) == list(range(20)) and run.failed == []


def test_an_error_is_tried_again_ten_times_in_all(cluster, caplog):
    assert collect(cluster.run(fail_nine_times, [7])) == {7: 7}
    assert calls[7] == 10
    assert caplog.messages[-1] == f"trying 7 again: OSError: for a while on {platform.node()}"


def test_a_task_that_fails_ten_times_is_left_and_named_and_the_others_are_done(cluster):
    run = cluster.run(fail_always_if_0, range(30))
    assert sorted(collect(run)) == list(range(1, 30))
    ((task, reason),) = run.failed
    assert task == 0 and reason.startswith("RuntimeError: no luck on") and calls[0] == 10


def test_if_nothing_works_the_run_ends_soon(cluster):
    with pytest.raises(ClusterError, match="10 tasks failed 10 times each, the last one: RuntimeError: no luck"):
        collect(cluster.run(fail_always_if_0, [0] * 1000))
    assert calls[0] < 200


def raise_spec_error(task: int) -> None:
    raise SpecError("no conv base")


def test_an_error_of_this_package_ends_the_run_at_once(cluster):
    with pytest.raises(SpecError, match="no conv base"):
        collect(cluster.run(raise_spec_error, range(5)))


def test_a_slow_task_runs_twice_and_the_first_result_counts(cluster):
    assert collect(cluster.run(wait_first_time, range(10)))[0] == 2
    assert calls[0] == 2
    gate.set()
    time.sleep(0.1)  # the late result is of no task
    assert collect(cluster.run(square, range(3))) == {0: 0, 1: 1, 2: 4}


def test_a_slow_task_whose_first_copy_fails_is_not_tried_again(cluster, caplog):
    """The other copy goes on."""
    threading.Timer(0.3, gate.set).start()
    run = cluster.run(wait_then_fail, range(10))
    assert collect(run)[0] == 2
    assert run.failed == [] and caplog.messages == []


def test_the_end_of_an_earlier_copy_is_not_that_of_a_later_attempt(cluster):
    run, done = cluster.run(wait_first_time, range(10)), {}
    for results in run:
        for result in results:
            if result.task == 0:
                run.run_again(result, 100)
                run._outcomes.put((result.number, None, RuntimeError("cancelled")))  # of the first copy
            else:
                done[result.task] = result.value
    assert done == dict.fromkeys([*range(1, 10), 100], 1) and run.failed == []


def test_a_refused_worker_gets_no_more_tasks(cluster, caplog):
    refused = workers_of(cluster)[1]
    run = cluster.run(where, range(50))
    places = {}
    for results in run:
        for result in results:
            if result.value == refused:
                run.refuse(result, "is odd")
            else:
                places[result.task] = result.value
    assert set(places) == set(range(50)) and set(places.values()) == {workers_of(cluster)[0]}
    (line,) = [line for line in caplog.messages if "gets no more tasks" in line]
    assert line.startswith(refused) and line.endswith("gets no more tasks: is odd")
    calls.clear()
    assert set(collect(cluster.run(where, range(20))).values()) == {workers_of(cluster)[0]}  # in later runs, too


def test_if_all_workers_are_refused_the_run_ends(cluster):
    run = cluster.run(where, range(50))
    with pytest.raises(ClusterError, match="no worker is left"):
        for results in run:
            for result in results:
                run.refuse(result, "is odd")


def test_a_worker_that_joins_after_one_was_refused_gets_tasks():
    """And those that were there may leave."""
    with cluster_of_threads(2) as cluster:
        first, second = workers_of(cluster)
        run = cluster.run(where, range(200))
        done, changed = set(), False
        for results in run:
            for result in results:
                if result.value == second:
                    run.refuse(result, "is odd")
                    continue
                done.add(result.task)
            if cluster._refused and not changed:
                changed = True
                add_worker(cluster)
                lose_worker(cluster, first)
    assert done == set(range(200)) and changed


def test_a_task_is_submitted_again_with_other_arguments(cluster):
    run, done = cluster.run(square, [3]), []
    for results in run:
        for result in results:
            if result.task == 3:
                run.run_again(result, 4)
            else:
                done.append((result.number, result.task, result.value))
    assert done == [(0, 4, 16)]


def test_a_lost_scheduler_ends_the_run_with_one_line(cluster):
    thread = threading.Timer(0.2, lose_scheduler, [cluster])
    thread.start()
    with pytest.raises(
        ClusterFailed, match=r"the scheduler of the cluster is gone.*the same command continues"
    ) as lost:
        collect(cluster.run(wait, range(4)))
    thread.join()
    gate.set()
    assert lost.value.exit_status == 1
    with pytest.raises(ClusterFailed, match="scheduler"):
        cluster.hosts()


def test_a_call_goes_to_the_same_worker_until_it_is_lost():
    with cluster_of_threads(3) as cluster:
        first = cluster.call("asking", where, 1)
        assert {cluster.call("asking", where, 1) for _ in range(5)} == {first}
        lose_worker(cluster, first)
        while first in workers_of(cluster):
            time.sleep(0.01)
        second = cluster.call("asking", where, 1)
        assert second != first and cluster.call("asking", where, 1) == second


def test_a_call_that_fails_is_one_line(cluster):
    with pytest.raises(ClusterFailed, match="failing failed on the cluster: RuntimeError: no luck"):
        cluster.call("failing", fail_always_if_0, 0)


def fail_on_first_worker(task: int) -> int:
    if here() == calls["first"]:
        raise RuntimeError("out of memory")
    time.sleep(0.02)
    return task


def test_a_worker_that_fails_every_task_does_not_make_tasks_fail(cluster):
    calls["first"] = cluster.call("asking", here)
    add_worker(cluster)
    run = cluster.run(fail_on_first_worker, range(40))
    assert sorted(collect(run)) == list(range(40)) and not run.failed
