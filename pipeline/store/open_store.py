"""`open_features`: open a store for reading, after a check that its manifest and its index agree."""

import time
from pathlib import Path

from pipeline.errors import StoreDamaged, StoreError
from pipeline.files.durable import sha256_of
from pipeline.store.feature_store import FeatureStore
from pipeline.store.file_names import MANIFEST
from pipeline.store.index import REMEDY, Index, read_index
from pipeline.store.manifest import Manifest, read_manifest


def open_features(directory: str | Path) -> FeatureStore:
    """Open a store for reading.

    Raises
    ------
    StoreError
        There is no store, or it is of another format.
    StoreDamaged
        The manifest or the index is not what was written.
    """
    directory = Path(directory)
    for _ in range(5):  # a writer may have put a new index in place since the manifest was read
        manifest = read_manifest(directory)
        path = directory / manifest.index
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            time.sleep(0.05)
            continue
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from None
        if sha256_of(data) != manifest.index_sha256:
            raise StoreDamaged(f"{path} is not what was written (its sha256 differs); {REMEDY}")
        index = read_index(data, Path(manifest.images["root"]), path)
        _check_agreement(directory, manifest, index)
        return FeatureStore(directory, manifest, index)
    raise StoreDamaged(f"{path} is missing; {REMEDY}")


def _check_agreement(directory: Path, manifest: Manifest, index: Index) -> None:
    """Check that every finished shard is a range of the index and holds its bad rows."""
    ranges = {tuple(pair) for pair in index.ranges.tolist()}
    for shard in manifest.shards:
        rows = range(shard.start, shard.stop)
        if (shard.start, shard.stop) not in ranges or not all(bad.row in rows for bad in shard.bad):
            raise StoreDamaged(
                f"{directory / MANIFEST} lists rows {shard.start} to {shard.stop}, the index does not; {REMEDY}"
            )
