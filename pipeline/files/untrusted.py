"""What a stranger's HDF5 or `.keras` file must not contain; checked before anything is read from it.

HDF5 follows external links and external storage into other files, loads filters from shared
libraries, and declares shapes that no storage stands behind. None of this occurs in a file of
weights or features.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import h5py
from h5py import h5d, h5g, h5l, h5o, h5z

FILTERS = {
    h5z.FILTER_DEFLATE: "gzip",
    h5z.FILTER_SHUFFLE: "shuffle",
    h5z.FILTER_FLETCHER32: "fletcher32",
    h5z.FILTER_LZF: "lzf",
}
EXPANSION = 100  # real weights and features compress by 2 to 20
SMALL = 2**20  # bytes that may be declared in any case
CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # of a `.keras` file


def check_untrusted_hdf5(file: str | os.PathLike[str] | IO[bytes]) -> None:
    """Check that an HDF5 file is whole, keeps to itself and holds what it declares.

    Refused are links other than hard ones, external storage, virtual datasets, filters other than
    gzip, shuffle, fletcher32 and lzf, named types, and datasets which together declare more than
    100 times the size of the file (and more than 1 MiB). Nothing but the structure is read.

    Parameters
    ----------
    file : path, or binary file open for reading
        A path is opened read-only.

    Raises
    ------
    ValueError
        The file is not HDF5, is damaged, or is hostile; the text is the reason, without the path.
    OSError
        The file cannot be opened at all: it does not exist, or may not be read.
    """
    try:
        with h5py.File(file, "r") as opened:
            allowed = SMALL + EXPANSION * opened.id.get_filesize()
            declared = sum(_declared_bytes(path, dataset) for path, dataset in _datasets(opened.id))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (OSError, RuntimeError, KeyError, TypeError, OverflowError) as error:  # h5py, of damaged bytes
        raise ValueError(f"it is not an HDF5 file, or it is damaged ({error})") from error
    if declared > allowed:
        raise ValueError(f"its datasets declare {declared:,} bytes, more than 100 times the size of the file")


def _datasets(root: h5py.h5f.FileID) -> Iterator[tuple[str, h5d.DatasetID]]:
    """Every dataset once, also where hard links form a loop."""
    waiting = [("", h5g.open(root, b"/"))]
    seen: set[int] = set()
    while waiting:
        prefix, group = waiting.pop()
        for name in group:
            path = f"{prefix}/{name.decode(errors='replace')}"
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                raise ValueError(f"{path} is a link to another place or file")
            item = h5o.open(group, name)
            address = h5o.get_info(item).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5g.GroupID):
                waiting.append((path, item))
            elif isinstance(item, h5d.DatasetID):
                yield path, item
            else:
                raise ValueError(f"{path} is neither a group nor a dataset")


def _declared_bytes(path: str, dataset: h5d.DatasetID) -> int:
    creation = dataset.get_create_plist()
    if creation.get_layout() == h5d.VIRTUAL:  # before its shape, which may open the sources
        raise ValueError(f"{path} is a virtual dataset, made of other files")
    if creation.get_external_count():
        raise ValueError(f"{path} keeps its values in another file")
    for number in range(creation.get_nfilters()):
        code = creation.get_filter(number)[0]
        if code not in FILTERS:
            raise ValueError(f"{path} is packed with filter {code}; taken are {', '.join(FILTERS.values())}")
    return math.prod(dataset.shape or ()) * dataset.get_type().get_size()


def check_untrusted_archive(path: Path) -> None:
    """Refuse a `.keras` file that is more than classes of Keras itself and their numbers.

    Raises
    ------
    ValueError, OSError, zipfile.BadZipFile
        It is, or it is no such file at all; the text is the reason.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > SMALL + EXPANSION * member.compress_size:
                raise ValueError(f"{member.filename} unpacks to {member.file_size:,} bytes")
        if missing := {CONFIG, WEIGHTS} - set(archive.namelist()):
            raise ValueError(f"it holds no {' and no '.join(sorted(missing))}")
        _check_foreign_objects(json.loads(archive.read(CONFIG)))
        with archive.open(WEIGHTS) as weights:
            check_untrusted_hdf5(weights)


def _check_foreign_objects(config: Any) -> None:
    """Refuse what is not a class of Keras itself, or carries code (Keras' safe mode does so again)."""
    if isinstance(config, dict):
        name, module, registered = (str(config.get(key)) for key in ("class_name", "module", "registered_name"))
        if name in ("Lambda", "__lambda__", "function"):
            raise ValueError(f"it holds a {name.strip('_')}, whose code would run here")
        if module.split(".")[0] not in ("keras", "None") or ">" in registered:
            raise ValueError(f"it holds {registered} of module {module}, which is not a class of Keras")
    if isinstance(config, (dict, list)):
        for item in config.values() if isinstance(config, dict) else config:
            _check_foreign_objects(item)
