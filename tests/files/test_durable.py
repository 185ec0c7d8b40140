"""Files are complete or absent."""

import errno
import os

import pytest

from pipeline.files import durable
from pipeline.files.durable import TEMPORARY, read_json, remove_temporaries, write_durably, write_json


def test_a_file_is_synced_then_named_then_its_directory_synced(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, real=real, name=name: calls.append(name) or real(*args))
    write_durably(tmp_path / "file", b"x" * 100_000)
    assert calls == ["fsync", "replace", "fsync"]
    assert (tmp_path / "file").read_bytes() == b"x" * 100_000


@pytest.mark.parametrize("call", ["open", "write", "fsync", "fstat", "replace"])
def test_fault_04_an_error_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, call):
    write_durably(tmp_path / "file", b"old")

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space"):
            write_durably(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    write_durably(tmp_path / "file", bytes(range(100)))
    assert (tmp_path / "file").read_bytes() == bytes(range(100))


def test_fault_06_temporary_files_are_removed(tmp_path):
    (tmp_path / f"{TEMPORARY}file-1").write_bytes(b"half")
    (tmp_path / "file").write_bytes(b"whole")
    remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_json_with_a_flipped_bit_in_any_byte_is_an_error(tmp_path):
    path = tmp_path / "document.json"
    write_json(path, {"rows": 512, "name": "vgg16", "bad": [[1, 2, "é"]]})
    assert read_json(path) == {"rows": 512, "name": "vgg16", "bad": [[1, 2, "é"]]}
    whole = path.read_bytes()
    for i in range(len(whole)):
        data = bytearray(whole)
        data[i] ^= 1 << i % 8
        path.write_bytes(data)
        with pytest.raises(ValueError, match="document"):
            read_json(path)


def test_directories_are_made_and_synced_into_their_parents(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "sync_directory", synced.append)
    durable.make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() and synced == [tmp_path, tmp_path / "a"]


def test_fault_03_a_directory_is_synced_with_its_parents_as_far_as_they_can_be_opened(tmp_path, monkeypatch):
    synced = []

    def sync(directory):
        if directory == tmp_path.parent:
            raise PermissionError(errno.EACCES, "Permission denied")
        synced.append(directory)

    monkeypatch.setattr(durable, "sync_directory", sync)
    durable.sync_with_parents(tmp_path / "a")
    assert synced == [tmp_path / "a", tmp_path, *tmp_path.parent.parents]
