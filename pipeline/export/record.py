"""An exported model from outside: what its file says of itself, and how it is asked.

Each format has a place for what a file says of itself, which readers that do not know it pass over:
`metadata.json` inside a `.keras` file, `assets.extra/` of a SavedModel, a zip at the end of a
`.tflite` file (as TensorFlow Lite's own metadata has it), `metadata_props` of an ONNX model.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.conv_base.keras_setup import one_line
from pipeline.errors import ExportError
from pipeline.files.untrusted import check_untrusted_keras

KEY = "cached_feature_pipeline"
METADATA = "metadata.json"  # inside a .keras file; Keras writes its version there
RECORD_FILE = f"{KEY}.json"
EXTRAS = "assets.extra"  # of a SavedModel: where TensorFlow leaves room for others' files
FORMAT = 1  # of the record


@dataclass(frozen=True)
class ExportRecord:
    """What an exported file says of itself, as JSON.

    Attributes
    ----------
    form : {"image", "slides"}
    head : str
        The name of the head.
    head_sha256 : str or None
        Of the saved head's model; None where the head was never saved.
    classes : tuple of str
        The names of the columns; of two classes the one column is that of the second.
    fingerprint : str
        Of the store's spec.
    input, output : str
        For people.
    format : int
    """

    form: str
    head: str
    head_sha256: str | None
    classes: tuple[str, ...]
    fingerprint: str
    input: str
    output: str
    format: int = FORMAT

    def to_json(self) -> str:
        """The text that goes into the file."""
        return json.dumps(asdict(self), indent=1)


def with_record(keras_file: bytes, record: ExportRecord) -> bytes:
    """A `.keras` file with the record in its metadata."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(keras_file)) as source, zipfile.ZipFile(packed, "w") as target:
        for member in source.infolist():
            data = source.read(member)
            if member.filename == METADATA:
                data = json.dumps({**json.loads(data), KEY: asdict(record)}, indent=1).encode()
            target.writestr(member, data)
    return packed.getvalue()


def read_record(path: Path) -> ExportRecord:
    """What a `.keras` file says of itself, after the file was checked for anything that could run code.

    Raises
    ------
    ExportError
        The file is missing or hostile, or was not written by `export`, or Keras has saved it anew since.
    """
    try:
        check_untrusted_keras(path)
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(METADATA))[KEY]
        record = ExportRecord(**{**found, "classes": _names(found["classes"])})
    except (KeyError, TypeError) as error:
        raise ExportError(
            f"{path} does not say which store and head it was made of ({one_line(error)}); it was not written by "
            "`python -m pipeline export`, or Keras has saved it again: export it anew"
        ) from None
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} is refused: {one_line(error)}") from error
    wrong = [name for name, kind in _KINDS.items() if not isinstance(getattr(record, name), kind)]
    if wrong or record.format != FORMAT:
        problem = f"garbles {', '.join(wrong)}" if wrong else f"is of format {record.format}, not {FORMAT}"
        raise ExportError(f"{path}: what it says of itself {problem}; export it anew")
    return record


_KINDS = {"form": str, "head": str, "head_sha256": str | None, "classes": tuple, "fingerprint": str}


def _names(classes: Any) -> Any:
    whole = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return tuple(classes) if whole else None
