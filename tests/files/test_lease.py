"""The lease that takes the place of a lock where the file system has none."""

import errno
import fcntl
import os
import threading
import time

import pytest
from filelock import Timeout

from pipeline import PipelineError, StoreBusy
from pipeline.files import lease as lease_module
from pipeline.files.lease import Lease
from pipeline.files.lock import lock_directory, lock_file


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def no_flock(request, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 0.6)


@pytest.mark.usefixtures("no_flock")
def test_a_directory_without_locks_has_one_writer_who_is_named(tmp_path, caplog, recwarn):
    with lock_directory(tmp_path / "store") as lock:
        lock.check()
        with (
            pytest.raises(StoreBusy, match=f"is being written to by process {os.getpid()} on "),
            lock_directory(tmp_path / "store"),
        ):
            pass
        lock.check()
    assert "has no file locks; waiting up to 1 s" in caplog.text and not recwarn.list  # filelock warns of a soft lock
    started = time.monotonic()
    with lock_directory(tmp_path / "store"):
        assert time.monotonic() - started < 0.3  # a lease that was released is free at once
    assert [path.name for path in (tmp_path / "store").iterdir()] == [".lock"]


@pytest.mark.usefixtures("no_flock")
def test_a_file_without_locks_has_one_writer(tmp_path):
    path = tmp_path / "labels.csv"
    with lock_file(path) as lock:
        with pytest.raises(PipelineError, match=r"labels\.csv is being written to by another process"), lock_file(path):
            pass
        lock.check()
    assert not list(tmp_path.iterdir())


def test_a_holder_that_runs_keeps_its_lease_for_longer_than_the_lease_time(tmp_path):
    holder, other = Lease(tmp_path / "lease", b"holder"), Lease(tmp_path / "lease", b"other")
    holder.acquire(0)
    with pytest.raises(Timeout):
        other.acquire(wait=2.0)
    assert holder.is_held() and not other.is_held()
    holder.release()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left_behind", [b"the killed one", b""])
def test_a_lease_that_nobody_renews_goes_to_one_process_after_the_lease_time(tmp_path, left_behind, monkeypatch):
    path, replace = tmp_path / "lease", os.replace

    def replace_late(source, target):
        time.sleep({b"a": 0, b"b": 0.02, b"c": 0.04}[source.read_bytes()])
        replace(source, target)

    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(os, "replace", replace_late)
    path.write_bytes(left_behind)
    leases, refused, started = [Lease(path, name) for name in (b"a", b"b", b"c")], [], time.monotonic()

    def acquire(lease):
        try:
            lease.acquire(0)
        except Timeout:
            refused.append(lease)

    threads = [threading.Thread(target=acquire, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 < time.monotonic() - started < 4
    holders = [lease for lease in leases if lease.is_held()]
    assert len(holders) == 1 and len(refused) == 2 and holders[0] not in refused
    assert list(tmp_path.iterdir()) == [path]
    holders[0].release()


def test_a_holder_that_lost_its_lease_does_not_renew_or_remove_that_of_the_next_one(tmp_path):
    path = tmp_path / "lease"
    holder = Lease(path, b"holder")
    holder.acquire(0)
    path.write_bytes(b"next")
    os.utime(path, (1, 1))
    time.sleep(0.5)
    holder.release()
    assert path.read_bytes() == b"next" and path.stat().st_mtime == 1


def test_a_lease_that_was_renewed_meanwhile_is_not_taken_over(tmp_path):
    path = tmp_path / "lease"
    path.write_bytes(b"holder")
    judged = (b"holder", path.stat().st_mtime_ns)
    os.utime(path, (1, 1))
    assert not Lease(path, b"other")._take_over(judged)
    assert path.read_bytes() == b"holder" and list(tmp_path.iterdir()) == [path]
