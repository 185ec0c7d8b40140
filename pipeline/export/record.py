"""The record inside an exported model file: which store and head it was made from, and what it takes and gives.

Each format keeps the record where readers that do not know it ignore it: `metadata.json` of a `.keras`
file, `assets.extra/` of a SavedModel, a zip archive at the end of a `.tflite` file (as the metadata of
TensorFlow Lite), `metadata_props` of an ONNX model.
"""

import io
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.conv_base.int8 import check_int8_model
from pipeline.conv_base.keras_setup import one_line
from pipeline.defaults import FORMATS
from pipeline.errors import ExportError
from pipeline.files.check_untrusted import check_in_child, check_untrusted_keras
from pipeline.text import COMMAND

KEY = "cached_feature_pipeline"
METADATA = "metadata.json"  # the file inside a .keras file that holds Keras' version
RECORD_FILE = f"{KEY}.json"
EXTRAS = "assets.extra"  # the directory of a SavedModel that TensorFlow reserves for files of others
FORMAT = 1  # version of the record
MAX_RECORD = 2**20  # bytes


@dataclass(frozen=True)
class ExportRecord:
    """The origin, the input and the output of an exported model, stored in its file as JSON."""

    form: str  # "image" or "slides", see `assemble_model`
    head: str  # the name of the head
    head_sha256: str | None  # of the saved head's model; None if the head was never saved
    classes: tuple[str, ...]  # the names of the output's columns; for two, the only column is that of the second
    fingerprint: str  # of the store's spec
    input: str  # a description of the array that the model takes
    output: str  # and of the one that it gives
    format: int = FORMAT  # the version of the record

    def to_json(self) -> str:
        """Return the record as JSON."""
        return json.dumps(asdict(self), indent=1)


def with_record(keras_file: bytes, record: ExportRecord) -> bytes:
    """Return the bytes of a `.keras` file with the record added to its metadata."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(keras_file)) as source, zipfile.ZipFile(packed, "w") as target:
        for member in source.infolist():
            data = source.read(member)
            if member.filename == METADATA:
                data = json.dumps({**json.loads(data), KEY: asdict(record)}, indent=1).encode()
            target.writestr(member, data)
    return packed.getvalue()


def read_record(path: Path) -> ExportRecord:
    """Read the record of a `.keras` or `.tflite` file, after a check that the file is safe to load.

    Nothing in a `.keras` file can run code; a `.tflite` file was run once in a process of its own.
    A file that is unsafe, was not written by `export` or was saved again by Keras raises ExportError.
    """
    try:
        values = _read_tflite_record(path) if path.suffix == FORMATS["tflite"] else _read_keras_record(path)
        classes = values["classes"]
        are_names = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
        record = ExportRecord(**{**values, "classes": tuple(classes) if are_names else None})
    except (KeyError, TypeError) as error:
        raise ExportError(
            f"{path} has no record of the store and head it was made of ({one_line(error)}); it was not written by "
            f"`{COMMAND} export`, or Keras has saved it again: export it again"
        ) from None
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} is refused: {one_line(error)}") from error
    types = {"form": str, "head": str, "head_sha256": str | None, "classes": tuple, "fingerprint": str}
    wrong = [name for name, type_ in types.items() if not isinstance(getattr(record, name), type_)]
    if wrong or record.format != FORMAT:
        problem = f"has wrong values of {', '.join(wrong)}" if wrong else f"is of format {record.format}, not {FORMAT}"
        raise ExportError(f"{path}: its record {problem}; export it again")
    return record


def _read_keras_record(path: Path) -> Any:
    check_untrusted_keras(path)
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(METADATA))[KEY]


def _read_tflite_record(path: Path) -> Any:
    check_in_child(check_int8_model, path)
    if not zipfile.is_zipfile(path):
        raise KeyError("no archive follows the model")
    with zipfile.ZipFile(path) as archive:
        if (size := archive.getinfo(RECORD_FILE).file_size) > MAX_RECORD:
            raise ValueError(f"its record unpacks to {size:,} bytes")
        return json.loads(archive.read(RECORD_FILE))
