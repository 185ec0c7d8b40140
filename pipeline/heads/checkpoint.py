"""A training that may be interrupted: all that its next epoch depends on, in one file.

The file is numpy's `.npz`, read without pickle; it is data of this package for this package, and
one that does not fit is refused, never followed.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files.durable import write_durably
from pipeline.heads.training import Epochs

FORMAT = 1
# What reading damaged bytes raises: numpy, zipfile, zlib and json have no word of their own for it.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


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


def read_checkpoint(path: Path, course: Epochs, identity: str, epochs: int) -> bool:
    """Take a training up where `write_checkpoint` left it, or where it stood after `epochs` epochs.

    All of the file is looked at before anything is changed: unless this returns True, `course` is as it was.

    Returns
    -------
    bool
        False where there is no file, or one of another training.

    Raises
    ------
    ValueError
        The file is damaged; or it went beyond `epochs`, and its best weights are of later than that.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            document = json.loads(file["document"].tobytes())
            if (document["format"], document["identity"]) != (FORMAT, identity):
                return False
            state, best = _numbered(file, "state"), _numbered(file, "best")
        _check(document, state, best, course)
    except FileNotFoundError:
        return False
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged ({error})") from None
    if document["best_epoch"] > epochs:
        raise ValueError(f"{path} holds the weights of epoch {document['best_epoch']}, {epochs} are asked for")
    for variable, value in zip(_state(course), state, strict=True):
        variable.assign(value)
    course.rng.bit_generator.state = document["rng"]
    course.history = {name: scores[:epochs] for name, scores in document["history"].items()}
    course.seconds = document["seconds"][:epochs]
    course.best, course.best_epoch, course.best_weights = document["best"], document["best_epoch"], best
    return True


def _check(document: dict[str, Any], state: list[np.ndarray], best: list[np.ndarray], course: Epochs) -> None:
    """Whether all of a checkpoint fits a training; any error of `DAMAGE` says that it does not."""
    weights = course.network.model.get_weights()
    if _kinds(state) != _kinds([variable.numpy() for variable in _state(course)]) or _kinds(best) != _kinds(weights):
        raise ValueError("its weights are of another network")
    type(course.rng.bit_generator)().state = document["rng"]
    done = len(document["seconds"])
    numbers = [document["seconds"], *document["history"].values()]
    if {len(some) for some in numbers} != {done} or not all(isinstance(one, float) for some in numbers for one in some):
        raise ValueError("its history is not a number an epoch")
    if not isinstance(document["best"], float) or document["best_epoch"] not in range(done + 1):
        raise ValueError("its best epoch is none of them")


def _state(course: Epochs) -> list[Any]:
    """Weights and optimiser, and the seeds of dropout: what an epoch changes."""
    model = course.network.model
    kept = {id(weight) for weight in model.weights}
    seeds = [variable for variable in model.variables if id(variable) not in kept]
    return [*model.trainable_weights, *seeds, *course.network.adam.state]


def _numbered(arrays: Mapping[str, np.ndarray], kind: str) -> list[np.ndarray]:
    return [arrays[f"{kind}_{n}"] for n in range(sum(name.startswith(f"{kind}_") for name in arrays))]


def _kinds(values: list[np.ndarray]) -> list[tuple[tuple[int, ...], np.dtype]]:
    return [(value.shape, value.dtype) for value in values]
