"""The scores saved with heads; read without loading a head, or anything heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.errors import HeadError
from pipeline.files.durable import read_json

RECORD = "head.json"
METRICS = "metrics.json"
TRAIN_IT = "train it again with `python -m pipeline heads DIR`"


def read_metrics(directory: str | Path) -> dict[str, Any] | None:
    """The scores saved with the head in `directory`; None where there are none of this very model.

    Raises
    ------
    HeadError
        The head's record or its metrics are damaged.
    """
    try:
        record = read_json(Path(directory) / RECORD)
        metrics = read_json(Path(directory) / METRICS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise HeadError(f"{error}; {TRAIN_IT}") from None
    measured_on = metrics.pop("model_sha256", None)
    return metrics if measured_on == record.get("sha256") else None
