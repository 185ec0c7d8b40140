"""A training that may be interrupted: all that its next epoch depends on, in one file.

The file is numpy's `.npz`, read without pickle; it is data of this package for this package, and
one that does not fit is refused, never followed.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.durable import write_durably
from pipeline.heads.training import Epochs

FORMAT = 1
FIELDS = {"format", "identity", "history", "seconds", "best", "best_epoch", "rng"}


def write_checkpoint(path: Path, course: Epochs, identity: str) -> None:
    """Write down where a training stands after an epoch; durable when this returns.

    Parameters
    ----------
    path : Path
        Replaced in one step.
    course : Epochs
    identity : str
        Of everything that the training depends on and that the file does not hold: rows, labels,
        parameters, frozen weights.
    """
    document = {
        "format": FORMAT,
        "identity": identity,
        "history": course.history,
        "seconds": course.seconds,
        "best": course.best,
        "best_epoch": course.best_epoch,
        "rng": course.rng.bit_generator.state,
    }
    arrays = {f"state_{n}": variable.numpy() for n, variable in enumerate(_state(course))}
    arrays |= {f"best_{n}": weight for n, weight in enumerate(course.best_weights or [])}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, document=np.frombuffer(json.dumps(document).encode(), np.uint8), **arrays)
    write_durably(path, buffer.getbuffer())


def read_checkpoint(path: Path, course: Epochs, identity: str) -> bool:
    """Take a training up where `write_checkpoint` left it.

    Returns
    -------
    bool
        False where there is no file, or one of another training; `course` is as it was then.

    Raises
    ------
    ValueError
        The file is damaged.
    """
    try:
        document, arrays = _read(path, identity)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error})") from None
    if document is None:
        return False
    state, best = (_numbered(arrays, kind) for kind in ("state", "best"))
    variables, weights = _state(course), course.network.model.get_weights()
    if _shapes(state) != _shapes(variables) or _shapes(best) not in ([], _shapes(weights)):
        raise ValueError(f"{path} holds weights of another network")
    for variable, value in zip(variables, state, strict=True):
        variable.assign(value)
    course.rng.bit_generator.state = document["rng"]
    for name in ("history", "seconds", "best", "best_epoch"):
        setattr(course, name, document[name])
    course.best_weights = best or None
    return True


def _state(course: Epochs) -> list[Any]:
    """Weights and optimiser, and the seeds of dropout: what an epoch changes."""
    model = course.network.model
    kept = {id(weight) for weight in model.weights}
    seeds = [variable for variable in model.variables if id(variable) not in kept]
    return [*model.trainable_weights, *seeds, *course.network.adam.state]


def _read(path: Path, identity: str) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as file:
        document = json.loads(file["document"].tobytes())
        if (document["format"], document["identity"]) != (FORMAT, identity):
            return None, {}
        if missing := FIELDS - set(document):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        return document, {name: file[name] for name in file.files if name != "document"}


def _numbered(arrays: dict[str, np.ndarray], kind: str) -> list[np.ndarray]:
    return [arrays[f"{kind}_{n}"] for n in range(sum(name.startswith(f"{kind}_") for name in arrays))]


def _shapes(values: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in values]
