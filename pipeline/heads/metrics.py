"""The scores saved with heads; read without loading a head, or anything heavy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.durable import read_json
from pipeline.errors import HeadError

RECORD = "head.json"
METRICS = "metrics.json"
TRAIN_IT = "train it again with `python -m pipeline heads`"


def saved_metrics(heads_directory: Path) -> Iterator[dict[str, Any]]:
    """The metrics of every head below a store's `heads_directory`.

    Raises
    ------
    HeadError
        See `read_metrics`.
    """
    for directory in sorted(heads_directory.glob("*/")):
        if metrics := read_metrics(directory):
            yield metrics


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


def choose_head(
    heads_directory: Path, fingerprint: str, name: str | None = None, among: Sequence[str] | None = None
) -> str:
    """The saved head to use: the one called `name`, or that of the best validation accuracy.

    Parameters
    ----------
    heads_directory : Path
        Of a store.
    fingerprint : str
        Of the store; a head of other features is never chosen.
    name : str, optional
    among : sequence of str, optional
        The names to choose from, where not all will do.

    Raises
    ------
    HeadError
        There is no such head, or none to choose from.
    """
    saved = {path.parent.name: path for path in sorted(heads_directory.glob(f"*/{RECORD}"))}
    if name is not None:
        if name not in saved:
            there = f"there are {', '.join(saved)}" if saved else "there are none"
            raise HeadError(f"no head {name!r} is saved in {heads_directory}; {there}")
        return name
    scores = {one: read_metrics(heads_directory / one) for one in saved if among is None or one in among}
    fit = {
        one: found["accuracy"]
        for one, found in scores.items()
        if found and read_json(saved[one]).get("fingerprint") == fingerprint
    }
    if not fit:
        wanted = "" if among is None else f" of {', '.join(among)}"
        raise HeadError(
            f"no trained head{wanted} for this store in {heads_directory}; train one with `python -m pipeline heads`"
        )
    return max(fit, key=fit.__getitem__)
