"""The scores saved with a head, read without loading the head or any large library."""

from pathlib import Path
from typing import Any

from pipeline.errors import HeadError
from pipeline.files.durable import read_json

RECORD = "head.json"
METRICS = "metrics.json"
TRAIN_IT = "train it again with `python -m pipeline heads DIR`"


def read_metrics(directory: str | Path) -> dict[str, Any] | None:
    """Read the scores saved with the head in `directory`; None where this model has none."""
    try:
        record = read_json(Path(directory) / RECORD)
        metrics = read_json(Path(directory) / METRICS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise HeadError(f"{error}; {TRAIN_IT}") from None
    return metrics if metrics.pop("model_sha256", None) == record.get("sha256") else None
