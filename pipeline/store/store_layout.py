"""`StoreLayout`: what the features of a store are like, without its rows."""

from __future__ import annotations

import math
from pathlib import Path

from pipeline.conv_base.joined_spec import AnySpec
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import StoreError
from pipeline.store.file_names import INT8_MODEL, part_directory
from pipeline.store.manifest import Manifest


class StoreLayout:
    """The directory and the manifest of a store; small enough to be sent to another process.

    Attributes
    ----------
    directory : Path
        The directory of the store.
    manifest : Manifest
    feature_shape : tuple of int
        The shape of one row.
    dtype : dtype
        The dtype in which features are stored.
    bytes_per_row : int
        Bytes of one row of features, as stored.
    fingerprint : str
        The fingerprint of the spec that the features were made with.
    """

    def __init__(self, directory: Path, manifest: Manifest):
        self.directory, self.manifest = directory, manifest
        self.feature_shape, self.dtype = manifest.feature_shape, manifest.dtype
        self.bytes_per_row = math.prod(manifest.feature_shape) * manifest.dtype.itemsize
        self.fingerprint = manifest.fingerprint

    @property
    def spec(self) -> AnySpec:
        """The resolved spec that the features were made with."""
        return self.manifest.resolved_spec

    @property
    def conv_base_spec(self) -> ConvBaseSpec:
        """The spec of a store that is not joined; StoreError for a joined one."""
        self.check_not_joined()
        return self.manifest.conv_base_spec

    def check_not_joined(self) -> None:
        """Raise StoreError if the store is joined, for a step that takes a single conv base."""
        if self.is_joined:
            raise StoreError(
                f"{self.directory} is joined of {' and '.join(map(str, self.joined_directories))}, and has no conv "
                "base of its own: give one of these stores"
            )

    @property
    def is_joined(self) -> bool:
        """Whether the features are those of several stores side by side; see `join_stores`."""
        return self.manifest.is_joined

    @property
    def joined_directories(self) -> list[Path]:
        """Where the stores were that a joined store was made of; empty for a store that is not joined."""
        return [Path(part["store"]) for part in self.manifest.sources["parts"]] if self.is_joined else []

    @property
    def parts(self) -> list[StoreLayout]:
        """The layouts of the stores that were joined; this one if it is not joined.

        Their directories are below that of the joined store, which has copies of int8 conv bases there.
        """
        if not self.is_joined:
            return [self]
        manifests = enumerate(self.manifest.parts, 1)
        return [StoreLayout(part_directory(self.directory, number), manifest) for number, manifest in manifests]

    @property
    def int8_model(self) -> Path:
        """The file of the conv base, if its precision is int8; views use that of their store."""
        is_view = self.manifest.spec.get("view")
        return (self.directory.absolute().parent.parent if is_view else self.directory) / INT8_MODEL

    @property
    def random_weights(self) -> bool:
        """Whether a conv base was not trained on photos; accuracies then say little."""
        return any(part.sources.get("weights") == "random" for part in self.manifest.parts)
