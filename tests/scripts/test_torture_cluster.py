"""The torture tests on many machines with reduced counts; they must notice a pipeline that breaks a promise."""

import sys

import pytest

from tests.scripts.test_torture import FORGETS_WHAT_IT_WROTE, HAS_NO_LOCK, SHIFTS_ROWS, torture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
CLUSTER = "from scripts.torture.cluster import ClusterTorture as Torture"
TRUSTS_WORKERS = """
import pipeline.extraction.cluster_engine as engine, pipeline.images.content_hashes as hashes
engine._unread_image = hashes._find_unread_file = lambda *args: None
"""
SHIFTS_ROWS_ON_WORKERS = SHIFTS_ROWS.replace("write_store", "staged_shard")


def test_kills_of_workers_coordinators_and_schedulers_cost_what_was_in_flight(tmp_path):
    status, parts, said = torture(tmp_path, "--parts", "abc", "--kills", "12", kind=CLUSTER)
    assert status == 0, said
    steps, workers, coordinators, schedulers = (part["tried"] for part in parts)
    assert steps["steps"] >= 7 and workers["kills in the run"] >= 5
    assert coordinators["second writers refused"] >= 1 and schedulers["stopped with a one-line message"] >= 1


def test_stopped_and_faulty_workers_change_nothing(tmp_path):
    status, (stops, faults), said = torture(tmp_path, "--parts", "de", kind=CLUSTER)
    assert status == 0, said
    assert stops["tried"]["late shards removed"] >= 1
    assert faults["tried"]["workers dropped with one line"] == 3 and faults["tried"]["workers admitted"] == 1


def test_a_part_that_is_killed_costs_one_shard(tmp_path):
    status, (steps, moments), said = torture(tmp_path, "--parts", "f", "--kills", "12", kind=CLUSTER)
    assert status == 0, said
    assert steps["tried"]["steps"] >= 7 and moments["tried"]["kills in the run"] >= 3


@pytest.mark.parametrize(
    ("parts", "breaking", "complaint"),
    [
        pytest.param("a", SHIFTS_ROWS_ON_WORKERS, "wrong rows", id="shifts rows on workers"),
        pytest.param("b", HAS_NO_LOCK, "to refuse a second writer", id="has no lock"),
        pytest.param("e", TRUSTS_WORKERS, "missing or differs", id="trusts workers"),
        pytest.param("f", FORGETS_WHAT_IT_WROTE, "is left over", id="forgets what it wrote"),
    ],
)
def test_a_broken_promise_is_noticed(tmp_path, parts, breaking, complaint):
    status, found, said = torture(tmp_path, "--parts", parts, "--kills", "4", breaking=breaking, kind=CLUSTER)
    broken = "\n".join(text for part in found for text in part["broken"])
    assert status == 1 and complaint in broken, said
