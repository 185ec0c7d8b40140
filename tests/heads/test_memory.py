"""The memory that is free, read from fake files of the system."""

from pathlib import Path

import pytest

from pipeline.heads.memory import available_memory

V2 = {"limit": "memory.max", "usage": "memory.current", "cache": "inactive_file", "directory": "sys/fs/cgroup"}
V1 = {
    "limit": "memory.limit_in_bytes",
    "usage": "memory.usage_in_bytes",
    "cache": "total_inactive_file",
    "directory": "sys/fs/cgroup/memory",
}


def write_system(root: Path, names: dict[str, str], limit: str, usage: int = 0, cache: int = 0) -> Path:
    """A machine with 5000 kB free, on which a container has a limit."""
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\nHugePages_Total: 0\n")
    directory = root / names["directory"]
    directory.mkdir(parents=True)
    (directory / names["limit"]).write_text(f"{limit}\n")
    (directory / names["usage"]).write_text(f"{usage}\n")
    (directory / "memory.stat").write_text(f"anon 17\n{names['cache']} {cache}\nfile 9\n")
    return root


def test_the_real_system_has_a_plausible_amount():
    free = available_memory()
    assert free is None or 2**20 < free < 2**50


@pytest.mark.parametrize("names", [V2, V1], ids=["v2", "v1"])
def test_a_container_has_what_is_left_of_its_limit(names, tmp_path):
    assert available_memory(write_system(tmp_path, names, "1000000", usage=700_000)) == 300_000


@pytest.mark.parametrize("names", [V2, V1], ids=["v2", "v1"])
def test_the_inactive_file_cache_of_a_container_is_free(names, tmp_path):
    assert available_memory(write_system(tmp_path, names, "1000000", usage=700_000, cache=200_000)) == 500_000


@pytest.mark.parametrize(("names", "limit"), [(V2, "max"), (V1, "9223372036854771712")], ids=["v2", "v1"])
def test_without_a_limit_the_machine_counts(names, limit, tmp_path):
    assert available_memory(write_system(tmp_path, names, limit, usage=700_000)) == 5000 * 1024


def test_usage_above_the_limit_leaves_nothing(tmp_path):
    assert available_memory(write_system(tmp_path, V2, "1000000", usage=1_100_000)) == 0
