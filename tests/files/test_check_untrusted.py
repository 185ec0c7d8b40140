"""An untrusted file is checked in a child process, whose crash or limit is an error in one line."""

import os
import signal
import sys
import time
from pathlib import Path

import h5py
import pytest

from pipeline import extract_features, scan_images
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.conv_base.user_keras_file import load_user_file
from pipeline.conv_base.weights_file import load_weights_file
from pipeline.errors import ExportError, HeadError, SpecError, StoreError
from pipeline.export.record import read_record
from pipeline.files import check_untrusted
from pipeline.files.check_untrusted import check_in_child, check_untrusted_hdf5, check_untrusted_keras
from pipeline.heads.load_head import load_head
from pipeline.maintenance.pack import pack_store
from tests.heads.test_saving import save, trained


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["layers/conv/vars/0"] = [1.0, 2.0]
    return tmp_path / "weights.h5"


def crash(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def let_checks_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("check_hdf5_structure", "check_keras_structure"):
        monkeypatch.setattr(check_untrusted, name, crash)


def allocate(path: Path) -> None:
    bytearray(8 << 30)


def sleep(path: Path) -> None:
    time.sleep(60)


def complain(path: Path) -> None:
    raise KeyError(f"no layer\nin {path.name}")


def test_a_harmless_file_passes(path: Path) -> None:
    check_untrusted_hdf5(path)


@pytest.mark.skipif(sys.platform == "win32", reason="a process ends by a signal")
def test_a_file_that_crashes_the_library_is_an_error(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(check_untrusted, "check_hdf5_structure", crash)
    with pytest.raises(ValueError, match=r"^its check crashed \(signal 11\)$"):
        check_untrusted_hdf5(path)


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux")
def test_a_file_that_takes_too_much_memory_is_an_error(path: Path) -> None:
    with pytest.raises(ValueError, match=r"^its check takes more than 2 GiB of memory$"):
        check_in_child(allocate, path)


def test_a_file_that_takes_too_long_is_an_error(path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"^its check took longer than 0\.5 seconds$"):
        check_in_child(sleep, path, max_seconds=0.5)
    assert time.monotonic() - start < 30


def test_an_error_of_the_check_comes_back_in_one_line(path: Path) -> None:
    with pytest.raises(ValueError, match=r"no layer.*in weights\.h5") as caught:
        check_in_child(complain, path)
    assert "\n" not in str(caught.value)


def test_the_reason_of_the_check_comes_back(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["secret"] = h5py.ExternalLink("/etc/other.h5", "/secret")
    with pytest.raises(ValueError, match=r"^/secret is a link to another place or file$"):
        check_untrusted_hdf5(path)
    with pytest.raises(ValueError, match=r"^File is not a zip file$"):
        check_untrusted_keras(path)


def test_a_missing_file_and_a_folder_are_os_errors(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_untrusted_hdf5(path.with_name("none.h5"))
    with pytest.raises(IsADirectoryError):
        check_untrusted_hdf5(path.parent)


@pytest.mark.parametrize("name", ["two\nlines.h5", "émoji 🐈.h5", b"latin\xe9.h5", "-c.h5"])
def test_any_file_name_is_passed_on(path: Path, name) -> None:
    file = path.rename(path.with_name(os.fsdecode(name)))
    check_untrusted_hdf5(file)


@pytest.mark.skipif(sys.platform == "win32", reason="a process ends by a signal")
def test_a_crash_is_an_error_of_whoever_reads_the_file(path: Path, monkeypatch) -> None:
    let_checks_crash(monkeypatch)
    with pytest.raises(SpecError, match=r"weights\.h5 is refused: its check crashed"):
        load_weights_file(None, path, "vgg16")
    with pytest.raises(SpecError, match="is refused: its check crashed"):
        load_user_file(ConvBaseSpec(str(path.rename(path.with_suffix(".keras"))), preprocessing="none"))
    with pytest.raises(ExportError, match="is refused: its check crashed"):
        read_record(path.with_suffix(".keras"))


@pytest.mark.skipif(sys.platform == "win32", reason="a process ends by a signal")
def test_a_saved_network_that_crashes_the_library_is_no_model_of_a_head(tmp_path: Path, monkeypatch) -> None:
    save(trained("dense"), tmp_path)
    let_checks_crash(monkeypatch)
    with pytest.raises(HeadError, match=r"is no model of a dense head \(its check crashed"):
        load_head(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="a process ends by a signal")
@pytest.mark.usefixtures("fake_conv_base")
def test_a_file_that_crashes_the_library_is_no_packed_store(photos: Path, tmp_path: Path, monkeypatch) -> None:
    extract_features(scan_images(photos), tmp_path / "cache", ConvBaseSpec(size=8))
    pack_store(tmp_path / "cache", tmp_path / "packed.h5")
    let_checks_crash(monkeypatch)
    with pytest.raises(StoreError, match="exists and is no packed store"):
        pack_store(tmp_path / "cache", tmp_path / "packed.h5")
