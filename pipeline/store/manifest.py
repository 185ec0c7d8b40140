"""`manifest.json`: what a store is, and which of its files are finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError, StoreDamaged, StoreError
from pipeline.files.durable import canonical_json, read_json, sha256_of, write_json
from pipeline.images.augment import View
from pipeline.store.layout import INDEX, MANIFEST

FORMAT = 1


class BadRow(NamedTuple):
    """A row without features: its number in the store, its status, and the reason in words."""

    row: int
    status: int
    reason: str


@dataclass(frozen=True)
class ShardEntry:
    """A finished shard: rows `start` to `stop`, its file's size and sha256, its bad rows, its maker.

    `maker` is 0 for the manifest's `made_with`, and i for the i-th of its `later_makers`, counted from 1.
    """

    start: int
    stop: int
    bytes: int
    sha256: str
    bad: tuple[BadRow, ...] = ()
    maker: int = 0


@dataclass(frozen=True)
class Manifest:
    """The document at the head of a store.

    Attributes
    ----------
    spec : mapping
        The identity of the resolved `ConvBaseSpec`.
    fingerprint : str
    feature_shape : tuple of int
        Of one row: (4, 4, 512).
    sources : mapping
        Where conv base and weights came from; for finding them again, never compared.
    rows_per_shard : int
    compression : str, optional
    index : str
        The file name of the index; it holds the first digits of its sha256.
    index_sha256 : str
    shards : tuple of ShardEntry
        The finished ones, by `start`.
    images : mapping
        Where the images came from and the fractions of the splits.
    made_with : mapping
        Library versions and machine of the first run; recorded, not compared.
    later_makers : tuple of mapping
        The same of later runs, each time it changed.
    precision_error : mapping
        Of a conv base that does not compute in float32: `relative_l2`, the error of its features
        against float32 on the first `images` of the store; empty otherwise.
    """

    spec: Mapping[str, Any]
    fingerprint: str
    feature_shape: tuple[int, ...]
    sources: Mapping[str, Any]
    rows_per_shard: int
    compression: str | None = None
    index: str = ""
    index_sha256: str = ""
    shards: tuple[ShardEntry, ...] = ()
    images: Mapping[str, Any] = field(default_factory=dict)
    made_with: Mapping[str, Any] = field(default_factory=dict)
    later_makers: tuple[Mapping[str, Any], ...] = ()
    precision_error: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype:
        """The dtype in which features are stored."""
        return np.dtype(self.spec["store_dtype"])

    @property
    def makers(self) -> tuple[Mapping[str, Any], ...]:
        """Library versions and machine of every run that computed features, the latest last."""
        return self.made_with, *self.later_makers

    def maker_of(self, entry: ShardEntry) -> Mapping[str, Any]:
        """Return the library versions and the machine that made a shard."""
        return self.makers[entry.maker]

    def write(self, directory: Path) -> None:
        """Put it in place durably."""
        write_json(directory / MANIFEST, {"format": FORMAT, **asdict(self)})


def read_manifest(directory: Path) -> Manifest:
    """Read a store's manifest.

    Raises
    ------
    StoreError
        There is none, or it is of another format.
    StoreDamaged
        It is not what was written.
    """
    path = directory / MANIFEST
    try:
        document = read_json(path)
    except FileNotFoundError:
        raise StoreError(
            f"no store at {directory}: make one with `python -m pipeline features IMAGES --cache {directory}`"
        ) from None
    except NotADirectoryError:
        raise StoreError(f"{directory} is a file, not a store") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise StoreDamaged(f"{error}; restore it from a copy, or start over with --rebuild") from None
    found = document.pop("format", None)
    if found != FORMAT:
        raise StoreError(f"{path} has store format {found}, this version reads {FORMAT}; use another directory")
    try:
        return _from_document(document)
    except (TypeError, KeyError, ValueError, AttributeError, SpecError) as error:
        raise StoreDamaged(f"{path} is not the manifest of a store ({error}); start over with --rebuild") from None


def stored_spec(manifest: Manifest) -> ConvBaseSpec:
    """The resolved spec of a store, naming conv base and weights by where they came from."""
    known = {key: value for key, value in manifest.spec.items() if key != "format"}
    conv_base = manifest.sources["conv_base"]
    weights = ConvBaseSpec.weights if conv_base.endswith(".keras") else manifest.sources["weights"]
    given = {"conv_base": conv_base, "weights": weights, "size": tuple(known["size"])}
    view = {"view": View.from_identity(known["view"])} if "view" in known else {}
    return ConvBaseSpec(**{**known, **given, **view})


def _from_document(document: dict[str, Any]) -> Manifest:
    document["feature_shape"] = tuple(document["feature_shape"])
    document["later_makers"] = tuple(document.get("later_makers", ()))  # manifests of 0.1.0 have none
    document["shards"] = tuple(
        ShardEntry(**{**shard, "bad": tuple(BadRow(*row) for row in shard["bad"])}) for shard in document["shards"]
    )
    manifest = Manifest(**document)
    if sha256_of(canonical_json(manifest.spec).encode()) != manifest.fingerprint:
        raise ValueError("its fingerprint is not that of its spec")
    if not INDEX.fullmatch(manifest.index):
        raise ValueError(f"{manifest.index!r} is no index")
    if not all(isinstance(n, int) and n > 0 for n in (*manifest.feature_shape, manifest.rows_per_shard)):
        raise ValueError(f"features of shape {manifest.feature_shape}, {manifest.rows_per_shard} to a shard")
    if not all(shard.maker in range(len(manifest.makers)) for shard in manifest.shards):
        raise ValueError("a shard has an unknown maker")
    if "root" not in manifest.images:
        raise ValueError("it names no root of the images")
    stored_spec(manifest)  # raises what it lacks
    return manifest
