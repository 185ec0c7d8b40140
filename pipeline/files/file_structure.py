"""Check what an HDF5 or a `.keras` file is made of before anything is read from it.

HDF5 follows external links and external storage into other files, loads filters from shared
libraries, and can declare shapes without storage behind them. None of this occurs in a file of
weights or features. `pipeline.files.check_untrusted` runs these checks in a child process.
"""

import json
import math
import os
import shutil
import tempfile
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
MAX_EXPANSION = 100  # real weights and features compress by 2 to 20
ALWAYS_ALLOWED = 2**20  # declared bytes that are accepted whatever the size of the file
HUB_BACKBONES = {  # registered names of the classes of keras-hub that map an image to features
    f"keras_hub>{name}Backbone"
    for name in (
        *("CSPNet", "DeiT", "DenseNet", "DINOV2", "DINOV3", "EfficientNet", "HGNetV2", "MiT", "MobileNet"),
        *("MobileNetV5", "ResNet", "SwinTransformer", "VGG", "ViT", "ViTDet", "Xception"),
    )
}
CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # members of a `.keras` file


def check_hdf5_structure(file: str | os.PathLike[str] | IO[bytes], *, max_expansion: float = MAX_EXPANSION) -> None:
    """Check that an HDF5 file is whole, does not refer to other files and holds what it declares.

    Links other than hard ones, external storage, virtual datasets, filters other than gzip, shuffle,
    fletcher32 and lzf, and named types are errors. All datasets together may declare `max_expansion`
    times the size of the file, or 1 MiB. Only the structure is read, no dataset.

    Raises
    ------
    ValueError
        The file is not HDF5, is damaged, or holds what is listed above; the text is the reason,
        without the path.
    OSError
        The file cannot be opened: it does not exist, or may not be read.
    """
    try:
        with h5py.File(file, "r", locking=False) as opened:
            allowed = ALWAYS_ALLOWED + max_expansion * opened.id.get_filesize()
            declared = sum(_declared_bytes(path, dataset) for path, dataset in _datasets(opened.id))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (OSError, RuntimeError, KeyError, TypeError, OverflowError) as error:  # h5py raises these over damage
        raise ValueError(f"it is not an HDF5 file, or it is damaged ({error})") from error
    if declared > allowed:
        raise ValueError(f"its datasets declare {declared:,} bytes, more than {max_expansion} times its size")


def _datasets(root: h5py.h5f.FileID) -> Iterator[tuple[str, h5d.DatasetID]]:
    """Yield each dataset once, even if hard links form a loop."""
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
    """Return the bytes that a dataset's shape and type stand for, after a check of how they are stored."""
    creation = dataset.get_create_plist()
    if creation.get_layout() == h5d.VIRTUAL:  # checked before the shape, which may open the sources
        raise ValueError(f"{path} is a virtual dataset, made of other files")
    if creation.get_external_count():
        raise ValueError(f"{path} keeps its values in another file")
    for i in range(creation.get_nfilters()):
        code = creation.get_filter(i)[0]
        if code not in FILTERS:
            raise ValueError(f"{path} is compressed with filter {code}; allowed are {', '.join(FILTERS.values())}")
    return math.prod(dataset.shape or ()) * dataset.get_type().get_size()


def check_keras_structure(path: Path) -> None:
    """Check that a `.keras` file consists of Keras' own classes and of their weights.

    If it is no such file, the text of the ValueError or BadZipFile is the reason, without the path.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > ALWAYS_ALLOWED + MAX_EXPANSION * member.compress_size:
                raise ValueError(f"{member.filename} unpacks to {member.file_size:,} bytes")
        if missing := {CONFIG, WEIGHTS} - set(archive.namelist()):
            raise ValueError(f"it holds no {' and no '.join(sorted(missing))}")
        check_classes(json.loads(archive.read(CONFIG)))
        with archive.open(WEIGHTS) as weights, tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(weights, copy)  # in an archive each step back would read it from the start again
            check_hdf5_structure(copy)


def needs_keras_hub(path: Path) -> bool:
    """Return whether a checked `.keras` file holds networks of keras-hub, which Keras finds after its import."""
    with zipfile.ZipFile(path) as archive:
        return b'"keras_hub>' in archive.read(CONFIG)


def check_classes(config: Any) -> None:
    """Check that a model's description holds no code and only classes of Keras, or networks of keras-hub for images.

    Keras' safe mode checks again. The text of the ValueError is what it holds.
    """
    if isinstance(config, dict):
        name, module, registered = (str(config.get(key)) for key in ("class_name", "module", "registered_name"))
        if name in ("Lambda", "__lambda__", "function"):
            raise ValueError(f"it holds a {name.strip('_')}, whose code would run here")
        package = module.split(".")[0]
        is_backbone = package == "keras_hub" and registered in HUB_BACKBONES
        if not is_backbone and (package not in ("keras", "None") or ">" in registered):
            raise ValueError(f"it holds {registered} of module {module}, which is not a class of Keras")
    if isinstance(config, (dict, list)):
        for item in config.values() if isinstance(config, dict) else config:
            check_classes(item)
