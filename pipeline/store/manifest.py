"""`manifest.json`: the spec of a store, and which of its shards are finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.conv_base.fingerprint import hash_identity
from pipeline.conv_base.joined_spec import AnySpec, JoinedSpec
from pipeline.conv_base.spec import ConvBaseSpec, find_kind
from pipeline.errors import SpecError, StoreDamaged, StoreError
from pipeline.files.durable import read_json, write_json
from pipeline.images.augment import View
from pipeline.store.file_names import INDEX, MANIFEST
from pipeline.text import COMMAND

FORMAT = 1
INT8_MEASUREMENTS = ("cosine", "calibrated", "images_per_second", "float32_images_per_second")


class BadRow(NamedTuple):
    """A row without features: its number in the store, its status, and the reason in words."""

    row: int
    status: int
    reason: str


@dataclass(frozen=True)
class ShardEntry:
    """A finished shard: rows `start` to `stop`, size and sha256 of its file, its bad rows, its maker."""

    start: int
    stop: int
    bytes: int
    sha256: str
    bad: tuple[BadRow, ...] = ()
    maker: int = 0  # 0 for the manifest's `made_with`, i for the i-th of its `later_makers`, counted from 1


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds."""

    spec: Mapping[str, Any]  # the identity of the resolved `ConvBaseSpec` or `JoinedSpec`
    fingerprint: str  # the sha256 of `spec`
    feature_shape: tuple[int, ...]  # of one row: (4, 4, 512)
    # Where conv base and weights came from; used to load them again, never compared. Of a joined store, `parts`: the
    # directory (`store`), the `feature_shape` and the `sources` of each store that was joined.
    sources: Mapping[str, Any]
    rows_per_shard: int  # the largest number of rows of a shard
    compression: str | None = None  # the HDF5 filter of the shards
    index: str = ""  # the file name of the index
    index_sha256: str = ""
    shards: tuple[ShardEntry, ...] = ()  # the finished shards, by their first row
    images: Mapping[str, Any] = field(default_factory=dict)  # `root`: the folder that ids are relative to
    made_with: Mapping[str, Any] = field(default_factory=dict)  # versions and machine of the first run; not compared
    later_makers: tuple[Mapping[str, Any], ...] = ()  # those of each later run in which they changed
    # For a conv base that does not compute in float32: `relative_l2`, the error of its features against float32
    # on `images` of the store. For int8 also the `cosine` of the pooled features, the number of images that it was
    # `calibrated` on, `images_per_second` and `float32_images_per_second`. Empty otherwise, and if these features
    # are not finite.
    precision_error: Mapping[str, Any] = field(default_factory=dict)
    # The sha256 of the features of fixed images, see `pipeline.extraction.probe`, by which a machine shows that it
    # computes the same numbers as the one that made the store. Empty in stores of older versions.
    numerics: str = ""

    @property
    def dtype(self) -> np.dtype:
        """The dtype in which features are stored."""
        return np.dtype(self.spec["store_dtype"])

    @property
    def makers(self) -> tuple[Mapping[str, Any], ...]:
        """Library versions and machine of every run that computed features, the latest last."""
        return self.made_with, *self.later_makers

    @property
    def is_joined(self) -> bool:
        """Whether the features are those of several stores side by side."""
        return "joined" in self.spec

    @property
    def parts(self) -> tuple[Manifest, ...]:
        """What is known of the stores that were joined; the manifest itself if its store is not joined."""
        if not self.is_joined:
            return (self,)
        return tuple(
            Manifest(identity, hash_identity(identity), tuple(part["feature_shape"]), part["sources"], rows_per_shard=1)
            for identity, part in zip(self.spec["joined"], self.sources["parts"], strict=True)
        )

    @property
    def resolved_spec(self) -> AnySpec:
        """The resolved spec, with the sources of conv base and weights in place of their names."""
        if self.is_joined:
            return JoinedSpec(tuple(part.conv_base_spec for part in self.parts))
        return self.conv_base_spec

    @property
    def conv_base_spec(self) -> ConvBaseSpec:
        """The resolved spec of a store that is not joined."""
        conv_base = self.sources["conv_base"]
        fields = {
            **{name: value for name, value in self.spec.items() if name != "format"},
            "conv_base": conv_base,
            "weights": ConvBaseSpec.weights if find_kind(conv_base) != "zoo" else self.sources["weights"],
            "size": tuple(self.spec["size"]),
        }
        if "view" in fields:
            fields["view"] = View.from_identity(fields["view"])
        return ConvBaseSpec(**fields)

    def write(self, directory: Path) -> None:
        """Write the manifest durably."""
        write_json(directory / MANIFEST, {"format": FORMAT, **asdict(self)})


def read_manifest(directory: Path) -> Manifest:
    """Read a store's manifest; raise StoreError without one of this format, StoreDamaged for a damaged one."""
    path = directory / MANIFEST
    try:
        document = read_json(path)
    except FileNotFoundError:
        raise StoreError(
            f"no store at {directory}: make one with `{COMMAND} features IMAGES --cache {directory}`"
        ) from None
    except NotADirectoryError:
        raise StoreError(f"{directory} is a file, not a store") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise StoreDamaged(f"{error}; restore it from a copy, or start over with --rebuild") from None
    stored_format = document.pop("format", None)
    if stored_format != FORMAT:
        raise StoreError(f"{path} has store format {stored_format}, this version reads {FORMAT}; use another directory")
    try:
        return _from_document(document)
    except (TypeError, KeyError, ValueError, AttributeError, SpecError) as error:
        raise StoreDamaged(f"{path} is not the manifest of a store ({error}); start over with --rebuild") from None


def _from_document(document: dict[str, Any]) -> Manifest:
    document["feature_shape"] = tuple(document["feature_shape"])
    document["later_makers"] = tuple(document.get("later_makers", ()))  # manifests of 0.1.0 have none
    document["shards"] = tuple(
        ShardEntry(**{**shard, "bad": tuple(BadRow(*row) for row in shard["bad"])}) for shard in document["shards"]
    )
    manifest = Manifest(**document)
    if hash_identity(manifest.spec) != manifest.fingerprint:
        raise ValueError("its fingerprint is not that of its spec")
    if not INDEX.fullmatch(manifest.index):
        raise ValueError(f"{manifest.index!r} is no index")
    if not all(isinstance(n, int) and n > 0 for n in (*manifest.feature_shape, manifest.rows_per_shard)):
        raise ValueError(f"features of shape {manifest.feature_shape}, {manifest.rows_per_shard} to a shard")
    if not all(shard.maker in range(len(manifest.makers)) for shard in manifest.shards):
        raise ValueError("a shard has an unknown maker")
    measured = ("relative_l2", "images", *INT8_MEASUREMENTS * (manifest.spec.get("precision") == "int8"))
    if manifest.precision_error and not all(
        isinstance(manifest.precision_error.get(key), (int, float)) for key in measured
    ):
        raise ValueError(f"its precision_error is {dict(manifest.precision_error)}")
    if "root" not in manifest.images:
        raise ValueError("it names no root of the images")
    if manifest.is_joined and manifest.feature_shape != (sum(part.feature_shape[-1] for part in manifest.parts),):
        raise ValueError(f"features of shape {manifest.feature_shape} are not those of its parts")
    manifest.resolved_spec  # noqa: B018  # raises an error if a field is missing or out of range
    return manifest
