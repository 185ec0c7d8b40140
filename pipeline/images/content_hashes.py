"""The sha256 of every image file's bytes, read by several threads."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.cluster import Cluster, Result
from pipeline.cluster.usable_results import usable_results
from pipeline.images.formats import FIRST_BYTES, may_be_image

READERS = 8  # threads; more than cores, as they wait for disks
FILES_PER_TASK = 64
FILES_PER_CLUSTER_TASK = 2000
UNREADABLE = b""  # in place of the sha256 of a file that cannot be read


def read_contents(
    root: Path, ids: Sequence[str], on_read: Callable[[int, int], None], cluster: Cluster | None = None
) -> list[bytes | None]:
    """Return the sha256 of each file, 32 bytes; `UNREADABLE` if it cannot be read, None if it is no image.

    `on_read(done, total)` is called before the first file and while files are read. The workers of a cluster must have
    the files under the same paths.
    """
    if ids:
        on_read(0, len(ids))
    if cluster is not None:
        return _read_on_cluster(root, ids, on_read, cluster)
    contents: list[bytes | None] = []
    for chunk in _read_in_threads(root, ids):
        contents += chunk
        on_read(len(contents), len(ids))
    return contents


def _read_in_threads(root: Path, ids: Sequence[str]) -> Iterator[list[bytes | None]]:
    starts = range(0, len(ids), FILES_PER_TASK)
    pool = ThreadPoolExecutor(READERS)
    try:
        yield from pool.map(lambda i: [_read_content(root / id) for id in ids[i : i + FILES_PER_TASK]], starts)
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Files:
    """Some files to read on a worker."""

    root: Path
    start: int
    ids: Sequence[str]

    def __str__(self) -> str:
        return f"files {self.start} to {self.start + len(self.ids)}"


def _read_files(files: _Files) -> list[bytes | None]:
    return [content for chunk in _read_in_threads(files.root, files.ids) for content in chunk]


def _read_on_cluster(
    root: Path, ids: Sequence[str], on_read: Callable[[int, int], None], cluster: Cluster
) -> list[bytes | None]:
    contents: list[bytes | None] = [UNREADABLE] * len(ids)
    done, step, root = 0, FILES_PER_CLUSTER_TASK, root.absolute()
    tasks = (_Files(root, start, ids[start : start + step]) for start in range(0, len(ids), step))
    for result in usable_results(cluster.run(_read_files, tasks), _find_unread_file):
        start = result.task.start
        contents[start : start + len(result.value)] = result.value
        done += len(result.value)
        on_read(done, len(ids))
    return contents


def _find_unread_file(result: Result[_Files]) -> str | None:
    """Return what is wrong with a worker that could not read a file that this process can read.

    The first file is read here in any case: the worker may see another folder under the same path.
    """
    for i, (id, content) in enumerate(zip(result.task.ids, result.value, strict=True)):
        path = result.task.root / id
        if (content == UNREADABLE or i == 0) and _read_content(path) != content:
            problem = "cannot read" if content == UNREADABLE else "reads something else from"
            return f"it {problem} {path}: are the images mounted there?"
    return None


def _read_content(path: Path) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            if not may_be_image(path, file.read(FIRST_BYTES)):
                return None
            file.seek(0)
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return UNREADABLE
