"""What a store must hold and what it holds, read with h5py and hashlib instead of the package's reader."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline import ImageTable, PipelineError, extract_features, open_features, scan_images
from pipeline.cli import main as cli
from pipeline.images.decode import DecodeError, decode_image
from pipeline.images.status import Status

from . import children, stand_ins
from .stand_ins import SIDE, quarters, tally

BATCH = 8  # images per forward pass


@dataclass
class Sample:
    """Images, and the store that an uninterrupted run makes from them.

    Attributes
    ----------
    folder : Path
        Folder of the images.
    images : ImageTable
    expected : dict
        Features as bytes by the sha256 of the image; None for an image without features.
    whole : dict
        Bytes of each shard by its name.
    rows : int
        Rows of all shards.
    shard_rows : int
        Rows of the first shard, which is the largest.
    seconds : float
        Duration of the uninterrupted run.
    """

    folder: Path
    images: ImageTable
    expected: dict[bytes, bytes | None]
    whole: dict[str, bytes] = field(default_factory=dict)
    rows: int = 0
    shard_rows: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, folder: Path) -> Sample:
        """Scan a folder and compute the expected features of each image."""
        images = scan_images(folder)
        expected = {key: features_of(Path(path)) for key, path in zip(images.content_keys(), images.paths, strict=True)}
        return cls(folder, images, expected)


Fill = Callable[[Sample, Path], Any]  # runs stage one in a child: of the images, into a store


def features_of(path: Path) -> bytes | None:
    """Compute the features of one image with the decoder alone; None if it cannot be decoded."""
    try:
        return quarters(decode_image(path.read_bytes(), (SIDE, SIDE))[None])[0].tobytes()
    except DecodeError:
        return None


def fill(sample: Sample, cache: Path) -> float:
    """Run stage one, in a child; return its seconds."""
    start = time.monotonic()
    tally.stage = 1
    extract_features(sample.images, cache, stand_ins.SPEC, batch_size=BATCH, workers=2)
    tally.stage = 2
    return time.monotonic() - start


def fill_reference(sample: Sample, work: Path) -> Sample:
    """Fill the store that every other one is compared with, and check it like any other."""
    cache = work / f"uninterrupted-{sample.folder.name}"
    outcome = children.run(fill, sample, cache)
    sample.seconds = outcome.value or 0.0
    shards = sorted((cache / "shards").iterdir()) if outcome.status == 0 else []
    sample.whole = {path.name: path.read_bytes() for path in shards}
    found = examine(cache, sample)
    sample.rows, sample.shard_rows = found.kept, max(found.rows.values(), default=0)
    faults = [outcome.errors] if outcome.status else faults_when_finished(cache, sample)
    if faults or found.wrong_rows or found.bad_files:
        raise SystemExit(f"the run to compare with is wrong itself: {faults or found}")
    return sample


def command(sample: Sample, cache: Path, *options: str) -> int:
    """Run stage one as the command `features` does, in a child; return its exit status."""
    spec = stand_ins.SPEC
    settings = ["--weights", spec.weights, "--size", str(spec.height_width[0]), "--store-dtype", spec.store_dtype]
    settings += ["--precision", spec.precision, "--batch-size", str(BATCH)]
    return cli.main(["features", str(sample.folder), "--cache", str(cache), *settings, *options])


@dataclass
class Findings:
    """What `examine` found in a store."""

    wrong_rows: int = 0
    bad_files: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)  # of each shard that carries its final name

    @property
    def kept(self) -> int:
        """Number of rows that need not be computed again."""
        return sum(self.rows.values())


def examine(cache: Path, sample: Sample) -> Findings:
    """Check every file that has its final name, whether the manifest lists it or not."""
    found = Findings()
    for path in sorted((cache / "shards").glob("[!.]*")):
        data = path.read_bytes()
        if data != sample.whole.get(path.name, data):
            found.bad_files.append(f"{path.name} differs from the uninterrupted run's")
        wrong, rows = count_wrong_rows(data, sample.expected)
        found.wrong_rows += wrong
        found.rows[path.name] = rows
        if not rows:
            found.bad_files.append(f"{path.name} cannot be read")
    for path in sorted(cache.glob("index-*")):
        if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem.removeprefix("index-")):
            found.bad_files.append(f"{path.name} is not what its name says")
    model = cache / "conv_base.tflite"
    if model.exists() and model.read_bytes() != stand_ins.INT8_MODEL:
        found.bad_files.append(f"{model.name} is not what was written")
    if (cache / "manifest.json").exists():
        found.bad_files += _faults_of_the_manifest(cache)
    return found


def count_wrong_rows(data: bytes, expected: dict[bytes, bytes | None]) -> tuple[int, int]:
    """Count the rows of a shard that are not their image's, and all rows; (0, 0) if it cannot be read."""
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            ids, status, features = (file[name][:] for name in ("ids", "status", "features"))
    except (OSError, KeyError, RuntimeError):
        return 0, 0
    wrong = sum(
        not _is_right(row, Status(code), expected.get(id.tobytes()))
        for id, code, row in zip(ids, status, features, strict=True)
    )
    return wrong, len(ids)


def _is_right(row: np.ndarray, status: Status, expected: bytes | None) -> bool:
    if status == Status.OK:
        return row.tobytes() == expected
    return expected is None and status != Status.NEVER_WRITTEN and not row.any()


def _faults_of_the_manifest(cache: Path) -> list[str]:
    try:
        document = json.loads((cache / "manifest.json").read_text())
        checksum = document.pop("checksum")
    except (ValueError, KeyError):
        return ["manifest.json cannot be read"]
    spelled = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    faults = [] if hashlib.sha256(spelled).hexdigest() == checksum else ["manifest.json has another checksum"]
    named = {cache / document["index"]: document["index_sha256"]}
    if sha256 := document["spec"].get("int8_sha256"):
        named[cache / "conv_base.tflite"] = sha256
    if sha256 := document.get("numerics"):
        named[cache / "probe.h5"] = sha256
    for shard in document["shards"]:
        named[cache / "shards" / f"{shard['start']:010d}-{shard['stop']:010d}.h5"] = shard["sha256"]
    for path, sha256 in named.items():
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            faults.append(f"{path.name} is not what the manifest says")
    return faults


def faults_when_finished(cache: Path, sample: Sample) -> list[str]:
    """List the differences between a store and that of the uninterrupted run; the package reads it too."""
    shards = {path.name: path.read_bytes() for path in sorted((cache / "shards").glob("*"))}
    faults = [f"{name} is missing or differs" for name, data in sample.whole.items() if shards.pop(name, None) != data]
    faults += [f"{name} is left over" for name in shards]
    try:
        store = open_features(cache)
        faults += [f"{store.pending} images are pending"] if store.pending else []
        return faults + _faults_of_reading(store, sample)
    except PipelineError as error:
        return [*faults, str(error)]


def _faults_of_reading(store: Any, sample: Sample) -> list[str]:
    X, y = store.load()
    ids = store.ids()
    content = dict(zip(sample.images.ids, sample.images.content_keys(), strict=True))
    good = [id for id in sample.images.ids if sample.expected[content[id]] is not None]
    faults = [] if list(ids) == good else [f"the reader gives {len(ids)} images, not {len(good)}"]
    for id, row, label in zip(ids, X, y, strict=True):
        if row.tobytes() != sample.expected[content[id]] or store.classes[label] != id.split("/")[0]:
            faults.append(f"the reader gives {id} wrong features or a wrong label")
    return faults
