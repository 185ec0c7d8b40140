"""`scratch_directory`: files for the time of a run, at a path that all of its processes can read."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.files.lock import lock_file


@contextlib.contextmanager
def scratch_directory(parent: Path, name: str) -> Iterator[Path]:
    """Make an empty directory below `parent` until the block ends; what killed processes left is removed.

    The directory has a new name each time, as other hosts may remember an old one. A PipelineError says that another
    process has a directory of the same `name`.
    """
    with lock_file(parent / name):
        for left_over in parent.glob(f".{name}-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        path = parent.absolute() / f".{name}-{secrets.token_hex(4)}"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
