"""`open_features`: open a store for reading, after a check that its manifest and its index agree."""

import contextlib
import logging
import os
import time
from functools import lru_cache
from pathlib import Path

from pipeline.errors import StoreDamaged, StoreError
from pipeline.files.durable import sha256_of
from pipeline.files.shared_mounts import is_shared
from pipeline.store.feature_store import FeatureStore
from pipeline.store.file_names import MANIFEST
from pipeline.store.index import REMEDY, Index, read_index
from pipeline.store.manifest import Manifest, read_manifest

logger = logging.getLogger(__name__)
LOCAL_SECONDS = 0.2  # that a reader waits for the index while a writer replaces it
SHARED_SECONDS = 60.0  # as above on a network file system; NFS may show an old directory for this long


def open_features(directory: str | Path) -> FeatureStore:
    """Open a store for reading.

    Raises
    ------
    StoreError
        There is no store, or it is of another format.
    StoreDamaged
        The manifest or the index is not what was written.
    """
    directory, waited = Path(directory), 0.0
    if not (directory / MANIFEST).exists():
        _ask_server(directory)  # another host may have made the store since this one looked last
    while True:
        manifest = read_manifest(directory)
        path = directory / manifest.index
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # a writer may have put a new index in place since the manifest was read
            waited += _wait_for_index(path, waited)
            continue
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from None
        if sha256_of(data) != manifest.index_sha256:
            raise StoreDamaged(f"{path} is not what was written (its sha256 differs); {REMEDY}")
        index = read_index(data, Path(manifest.images["root"]), path)
        _check_agreement(directory, manifest, index)
        return FeatureStore(directory, manifest, index)


def hash_files(store: FeatureStore) -> str:
    """Return a sha256 of the index and the finished shards of a store, for `open_again`."""
    return sha256_of("".join([store.manifest.index_sha256, *(s.sha256 for s in store.manifest.shards)]).encode())


@lru_cache(1)
def open_again(directory: Path, sha256: str) -> FeatureStore:
    """Open a store that another process has opened, once in this process.

    Raises
    ------
    StoreError
        Its files have changed since: `sha256` is no longer that of `hash_files`.
    """
    store = open_features(directory)
    if hash_files(store) != sha256:
        raise StoreError(f"{directory} was changed meanwhile; run the same command again")
    return store


def _wait_for_index(path: Path, waited: float) -> float:
    """Wait for longer than the last time, and return the seconds; raise StoreDamaged after the longest time."""
    longest = SHARED_SECONDS if is_shared(path.parent) else LOCAL_SECONDS
    if waited >= longest:
        raise StoreDamaged(f"{path} is missing; {REMEDY}")
    if waited >= LOCAL_SECONDS > waited / 2:
        logger.warning("%s is not there yet; waiting up to %.0f s for the file system to show it", path, longest)
    pause = min(max(waited, LOCAL_SECONDS / 4), longest / 10)
    time.sleep(pause)
    _ask_server(path.parent)
    return pause


def _ask_server(directory: Path) -> None:
    """Make a network file system forget which files were missing: NFS asks the server when a directory is opened."""
    for folder in (directory.parent, directory):
        with contextlib.suppress(OSError):  # Windows opens no directories
            os.close(os.open(folder, os.O_RDONLY))


def _check_agreement(directory: Path, manifest: Manifest, index: Index) -> None:
    """Check that every finished shard is a range of the index and holds its bad rows."""
    ranges = {tuple(pair) for pair in index.ranges.tolist()}
    for shard in manifest.shards:
        rows = range(shard.start, shard.stop)
        if (shard.start, shard.stop) not in ranges or not all(bad.row in rows for bad in shard.bad):
            raise StoreDamaged(
                f"{directory / MANIFEST} lists rows {shard.start} to {shard.stop}, the index does not; {REMEDY}"
            )
