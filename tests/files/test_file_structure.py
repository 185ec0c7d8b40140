"""The structure of an HDF5 file is checked before anything is read from it."""

import io
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.files.file_structure import check_hdf5_structure, check_keras_structure


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "untrusted.h5"


def harmless(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["layers/conv/vars/0"] = np.arange(12.0)
        file.create_dataset("features", data=np.zeros((64, 64)), chunks=(8, 64), compression="gzip", shuffle=True)
        file.create_dataset("status", data=np.zeros(64, "u1"), compression="lzf", fletcher32=True)
        file["ids"] = ["a", "b"]
        file["empty"] = h5py.Empty("f4")
        file.attrs["layer_names"] = [b"conv"]
    return path


def test_a_harmless_file_passes_by_path_and_as_an_open_file(path: Path) -> None:
    check_hdf5_structure(harmless(path))
    check_hdf5_structure(io.BytesIO(path.read_bytes()))


def test_a_loop_of_hard_links_ends(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("a")["b"] = file["/"]
    check_hdf5_structure(path)


def external_link(file: h5py.File) -> None:
    file["layers/conv"] = h5py.ExternalLink("/etc/other.h5", "/secret")


def soft_link(file: h5py.File) -> None:
    file["a"] = h5py.SoftLink("/elsewhere")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("a", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def virtual_dataset(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "a", (4,))
    file.create_virtual_dataset("a", layout)


def huge_shape(file: h5py.File) -> None:
    file.create_dataset("a", (305 * 2**28,), "f4")


def many_large_shapes(file: h5py.File) -> None:
    for i in range(40):
        file.create_dataset(str(i), (2**18 - 1,), "f4")


def unknown_filter(file: h5py.File) -> None:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((4,))
    creation.set_filter(32099, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4,)), creation)


def named_type(file: h5py.File) -> None:
    file["a"] = np.dtype("f4")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (external_link, "/layers/conv is a link"),
        (soft_link, "/a is a link"),
        (external_storage, "/a keeps its values in another file"),
        (virtual_dataset, "/a is a virtual dataset"),
        (huge_shape, "declare 327,491,256,320 bytes"),
        (many_large_shapes, "declare 41,942,880 bytes"),
        (unknown_filter, "/a is compressed with filter 32099"),
        (named_type, "/a is neither a group nor a dataset"),
    ],
)
def test_fault_40_a_malicious_structure_is_an_error_with_the_reason(path: Path, write, reason: str) -> None:
    with h5py.File(path, "w") as file:
        write(file)
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match=reason):
        check_hdf5_structure(path)


def test_a_file_that_is_not_hdf5_or_is_cut_short_is_an_error(path: Path) -> None:
    whole = harmless(path).read_bytes()
    for damaged in (b"", b"<html>not found</html>", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not an HDF5 file, or it is damaged"):
            check_hdf5_structure(path)


def test_overwritten_bytes_raise_nothing_but_value_errors(path: Path) -> None:
    whole = bytearray(harmless(path).read_bytes())
    errors = 0
    for start in range(64, min(len(whole), 4096), 64):
        damaged = whole[:start] + b"\xff" * 16 + whole[start + 16 :]
        try:
            check_hdf5_structure(io.BytesIO(damaged))
        except ValueError:
            errors += 1
    assert errors > 5


def test_the_weights_in_a_large_keras_file_are_read_once(path: Path) -> None:
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for i in range(100):
            file[f"layers/dense_{i}/vars/0"] = np.zeros(2**17, "f4")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"module": "keras", "class_name": "Sequential"}')
        archive.writestr("model.weights.h5", weights.getvalue())
    start = time.process_time()
    check_keras_structure(path)
    assert time.process_time() - start < 2  # 4 seconds if each step back reads the archive from its start


def test_a_missing_file_is_an_os_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_hdf5_structure(path)
