"""Manifests, indices and shards of stores with a few rows."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import ConvBaseSpec
from pipeline.images.status import Status
from pipeline.images.table import ImageTable, Skipped
from pipeline.store import Index, Manifest, ShardContent

ROW = (2, 2, 3)
SPEC = ConvBaseSpec(size=8, precision="float32", decoder="pillow-1", weights_sha256="1" * 64)
ODD = [b"cats/new\nline.png", b"cats/latin\xe9.png", 'cats/émoji 🐈, "a".png'.encode(), b"dogs/ ", b"dogs/b.png"]


def table(names: list[bytes]) -> ImageTable:
    n = len(names)
    return ImageTable(
        root=Path("/photos"),
        ids=[os.fsdecode(name) for name in names],
        labels=np.arange(n, dtype=np.int32) % 2 - (n > 4),
        split_codes=(np.arange(n) % 3).astype(np.int8),
        classes=("cats", "dögs\n"),
        sizes=np.arange(n, dtype=np.int64) << 33,
        mtimes=np.arange(n, dtype=np.int64) + 1_700_000_000_000_000_000,
        contents=np.random.default_rng(n).integers(0, 256, (n, 32), np.uint8),
        readable=np.arange(n) != 1,
        groups=np.arange(n, dtype=np.int32) // 2 - 1,
        skipped=[Skipped(os.fsdecode(b"\xff.txt"), "is no image")],
    )


def index_of(names: list[bytes], rows_per_shard: int = 2) -> Index:
    images = table(names)
    starts = np.arange(0, len(names), rows_per_shard, dtype=np.int64)
    ranges = np.stack([starts, np.minimum(starts + rows_per_shard, len(names))], axis=1)
    return Index(images, np.arange(len(names), dtype=np.int64), images.contents, ranges)


def content_of(index: Index, start: int, stop: int) -> ShardContent:
    features = np.random.default_rng(start).normal(size=(stop - start, *ROW)).astype(np.float16)
    return ShardContent(start, features, np.full(stop - start, Status.OK, np.uint8), index.contents[start:stop])


def manifest_of(**changes) -> Manifest:
    manifest = Manifest(
        spec=SPEC.identity(),
        fingerprint=SPEC.fingerprint,
        feature_shape=ROW,
        sources={"conv_base": "vgg16", "weights": "imagenet"},
        rows_per_shard=2,
        images={"root": "/photos"},
    )
    return replace(manifest, **changes)


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
