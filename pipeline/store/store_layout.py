"""`StoreLayout`: what the features of a store are like, without its rows."""

import math
from pathlib import Path

from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.store.file_names import INT8_MODEL
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
    def spec(self) -> ConvBaseSpec:
        """The resolved spec that the features were made with."""
        return self.manifest.conv_base_spec

    @property
    def int8_model(self) -> Path:
        """The file of the conv base, if its precision is int8; views use that of their store."""
        is_view = self.manifest.spec.get("view")
        return (self.directory.absolute().parent.parent if is_view else self.directory) / INT8_MODEL

    @property
    def random_weights(self) -> bool:
        """Whether the conv base was not trained on photos; accuracies then say little."""
        return self.manifest.sources.get("weights") == "random"
