"""One writer at a time."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import StoreBusy, StoreError, open_features
from pipeline.files.durable import TEMPORARY
from pipeline.store import open_for_writing
from tests.store.small_stores import contents_of

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
