"""The probe: features of fixed images, whose sha256 tells whether two machines compute the same numbers.

Processors with other instructions, graphics cards and other versions of the libraries round differently, so that
the same conv base gives slightly other features. The probe is a shard of the images below `probe_images/`, a JPEG and
two synthetic PNGs, made by the loop that makes every shard. Its sha256 is the `numerics` of a store.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from pipeline.conv_base.precision import relative_l2
from pipeline.extraction.compute_shards import compute_shards
from pipeline.extraction.conv_base_loading import AnyConvBase
from pipeline.extraction.decode_ahead import Task
from pipeline.files.durable import sha256_of
from pipeline.store import StoreLayout
from pipeline.store.file_names import PROBE
from pipeline.store.shard_file import build_shard

IMAGES: Sequence[Path] = sorted((Path(__file__).parent / "probe_images").iterdir())


def compute_probe(conv_base: AnyConvBase, layout: StoreLayout, batch_size: int) -> bytes:
    """Return the bytes of the shard of the probe images, as a conv base computes it for a store."""
    view = layout.spec.view
    tasks = [
        Task(row, bytes.fromhex(sha256_of(path.read_bytes())), path.name, str(path), view)
        for row, path in enumerate(IMAGES)
    ]
    if not tasks:
        return b""
    ranges = [(0, len(tasks))]
    ((content, _),) = compute_shards(ranges, tasks, layout, conv_base, batch_size=batch_size, workers=1)
    return bytes(build_shard(content, layout.fingerprint))


def probe_difference(probe: bytes, expected: bytes) -> float:
    """Return the relative L2 error of the features of a probe against those of another one; infinity if unknown."""
    features, stored = _features(probe), _features(expected)
    if stored is None or features is None or features.shape != stored.shape:
        return np.inf
    return relative_l2(features, stored)


def read_probe(layout: StoreLayout) -> bytes:
    """Return the probe of a store; nothing if it is missing or was changed."""
    try:
        probe = (layout.directory / PROBE).read_bytes()
    except OSError:
        return b""
    return probe if sha256_of(probe) == layout.manifest.numerics else b""


def _features(probe: bytes) -> np.ndarray | None:
    if not probe:
        return None
    with h5py.File(io.BytesIO(probe), "r") as file:
        return file["features"][:]
