"""The sha256 of the files of a conv base that is a path."""

from pathlib import Path

from pipeline.conv_base.directory_files import hash_directory
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.files.durable import sha256_of_file


def hash_files(spec: ConvBaseSpec) -> str | None:
    """Return `conv_base_sha256` of a spec whose conv base is a path; None if it does not exist."""
    path = Path(spec.conv_base)
    if spec.kind == "directory":
        return hash_directory(path, spec.preprocessing) if path.is_dir() else None
    return sha256_of_file(path) if path.is_file() else None
