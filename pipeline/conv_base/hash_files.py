"""The sha256 of the files of a conv base that is a path."""

from pathlib import Path

from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.files.durable import sha256_of_file


def hash_files(spec: ConvBaseSpec) -> str | None:
    """Return `conv_base_sha256` of a spec whose conv base is a path; None if there is no such file."""
    path = Path(spec.conv_base)
    return sha256_of_file(path) if path.is_file() else None
