"""One writer at a time."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import StoreBusy, StoreError, open_features
from pipeline.files import lease
from pipeline.files.durable import TEMPORARY
from pipeline.store import open_for_writing
from tests.store.small_stores import ODD, content_of, contents_of, index_of, manifest_of

ROOT = Path(__file__).parent.parent.parent


HOLD = """
import sys, time
from pathlib import Path
from pipeline.store import open_for_writing
with open_for_writing(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_fault_07_a_second_writer_names_the_first_and_changes_nothing_until_the_first_is_killed(cache):
    (cache / "shards" / f"{TEMPORARY}half").write_bytes(b"half")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, cache], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert holder.stdout.readline() == b"held\n"
        (cache / "shards" / f"{TEMPORARY}new").write_bytes(b"being written")
        before = contents_of(cache)
        with pytest.raises(StoreBusy, match=f"process {holder.pid} on .* since"), open_for_writing(cache):
            pass
        assert contents_of(cache) == before
        assert len(open_features(cache).members()) == 5
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with open_for_writing(cache) as writer:
            assert writer.current.pending == 0
    finally:
        holder.kill()
        holder.communicate()
    assert not list(cache.rglob(f"{TEMPORARY}*")) and not (cache / ".writer.json").exists()


def test_fault_07_a_killed_process_is_not_named_as_the_writer(cache):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with open_for_writing(cache):
        name = json.loads((cache / ".writer.json").read_text())
        for pid, words in ((gone.pid, "by another process"), (os.getpid(), f"by process {os.getpid()}")):
            (cache / ".writer.json").write_text(json.dumps({**name, "pid": pid}))
            with pytest.raises(StoreBusy, match=words), open_for_writing(cache):
                pass


def test_fault_05_a_directory_that_cannot_be_written_to_is_an_error(cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"mine")
    with (
        pytest.raises(StoreError, match="file/x is not a directory"),
        open_for_writing(tmp_path / "file/x"),
    ):
        pass

    def fail(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    before = contents_of(cache)
    monkeypatch.setattr("pipeline.files.lock.FileLock.acquire", fail)
    with pytest.raises(StoreError, match="cannot be written to: Permission denied"), open_for_writing(cache):
        pass
    assert contents_of(cache) == before and len(open_features(cache).members()) == 5


def test_fault_06_left_over_temporaries_are_removed_and_nothing_else(cache):
    before = contents_of(cache)
    for folder in (cache, cache / "shards"):
        (folder / f"{TEMPORARY}half").write_bytes(b"half")
    with open_for_writing(cache):
        pass
    assert contents_of(cache) == before


WITHOUT_FLOCK = """
import errno, fcntl, signal, os, sys
from pathlib import Path
from pipeline import StoreBusy
from pipeline.files import lease
from pipeline.store import open_for_writing
from tests.store.small_stores import ODD, content_of, index_of

def refuse(descriptor, operation):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = refuse
lease.LEASE_SECONDS = float(sys.argv[2])
try:
    with open_for_writing(Path(sys.argv[1])) as writer:
        print("held", flush=True)
        sys.stdin.readline()
        writer.put_shard(content_of(index_of(ODD), 0, 2), ())
except StoreBusy as error:
    print(error)
"""


@pytest.fixture
def holder(cache):
    """A process that holds the lease of a store, and writes a shard when it reads a line."""
    command = [sys.executable, "-c", WITHOUT_FLOCK, cache, "1"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, cwd=ROOT, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def without_flock(monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)


@pytest.mark.usefixtures("without_flock")
def test_fault_07_a_lease_names_its_holder_and_ends_after_the_holder_was_killed(cache, holder):
    before = contents_of(cache)
    with pytest.raises(StoreBusy, match=f"process {holder.pid} on .* since"), open_for_writing(cache):
        pass
    assert contents_of(cache) == before
    holder.kill()
    started = time.monotonic()
    with open_for_writing(cache) as writer:
        assert time.monotonic() - started > 1 and writer.current.pending == 0


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("next_has_ended", [False, True])
def test_fault_07_a_holder_that_was_stopped_for_longer_than_its_lease_writes_nothing(cache, holder, next_has_ended):
    holder.send_signal(signal.SIGSTOP)
    with contextlib.ExitStack() as opened:
        opened.enter_context(open_for_writing(cache))
        if next_has_ended:
            opened.close()
        before = contents_of(cache)
        holder.send_signal(signal.SIGCONT)
        message, _ = holder.communicate("write\n")
        name = "another process" if next_has_ended else f"process {os.getpid()} on "
        assert f"{cache} was taken over by {name}" in message and message.count("\n") == 1
        assert contents_of(cache) == before and len(open_features(cache).members()) == 5


def _take_over(cache: Path) -> bytes:
    """Do what a writer on another host does, to which its file system has granted the same lock."""
    name = {"pid": 1, "host": "host-2", "since": "2026-01-01 00:00:00", "token": "other"}
    (cache / ".writer.json").write_text(json.dumps(name))
    return (cache / ".writer.json").read_bytes()


@pytest.mark.parametrize("step", ["begin", "put_shard", "set_maker", "commit"])
def test_fault_07_a_writer_stops_when_another_one_has_taken_the_store_over(cache, step):
    index = index_of(ODD)
    with (
        pytest.raises(StoreBusy, match="was taken over by process 1 on host-2 since"),
        open_for_writing(cache) as writer,
    ):
        if step == "commit":
            writer.put_shard(content_of(index, 2, 4), ())
            writer._is_committed = False
        name, before = _take_over(cache), contents_of(cache)
        arguments = {
            "begin": (manifest_of(), index_of(ODD[:4])),
            "put_shard": (replace(content_of(index, 2, 4), start=0), ()),
            "set_maker": ({"numpy": "0"},),
        }
        getattr(writer, step)(*arguments.get(step, ()))
    assert contents_of(cache) == before and (cache / ".writer.json").read_bytes() == name
    assert len(open_features(cache).members()) == 5


def test_fault_07_a_writer_that_stops_in_a_new_directory_leaves_the_lock_of_the_next_one(tmp_path):
    with pytest.raises(StoreBusy), open_for_writing(tmp_path / "new") as writer:
        _take_over(tmp_path / "new")
        writer.begin(manifest_of(), index_of(ODD))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".lock", ".writer.json"]


@pytest.mark.parametrize("left_behind", [b"", b"{", b'{"pid": 1}'])
def test_fault_07_what_a_killed_writer_left_in_the_file_of_the_holder_is_no_other_writer(cache, left_behind):
    (cache / ".writer.json").write_bytes(left_behind)
    with open_for_writing(cache) as writer:
        writer.put_shard(content_of(index_of(ODD), 0, 2), ())
    assert not (cache / ".writer.json").exists()
