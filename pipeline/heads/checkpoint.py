"""The checkpoint of a training: all that its next epoch depends on, in one file.

The file is numpy's `.npz`, whose members have a CRC, read without pickle.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files.durable import write_durably
from pipeline.heads.epoch_loop import EpochLoop

FORMAT = 1


def write_checkpoint(path: Path, loop: EpochLoop, identity: str) -> None:
    """Write the state of a training after an epoch; it is on disk when this returns.

    `identity` stands for what the training depends on and the file does not hold: rows, labels,
    parameters, frozen weights.
    """
    document = {
        "format": FORMAT,
        "identity": identity,
        "history": loop.history,
        "seconds": loop.seconds,
        "best": loop.best_loss,
        "best_epoch": loop.best_epoch,
        "rng": loop.rng.bit_generator.state,
    }
    arrays = {f"state_{n}": variable.numpy() for n, variable in enumerate(_variables(loop))}
    arrays |= {f"best_{n}": weight for n, weight in enumerate(loop.best_weights or [])}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, document=np.frombuffer(json.dumps(document).encode(), np.uint8), **arrays)
    write_durably(path, buffer.getbuffer())


def read_checkpoint(path: Path, loop: EpochLoop, identity: str, epochs: int) -> bool:
    """Put a training into the state of `write_checkpoint`, or into that after `epochs` epochs.

    Return False where there is no file, or one of another training. A ValueError says that the file is damaged, or
    that its best weights are of an epoch after `epochs`. In both cases `loop` is as before.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            document = json.loads(file["document"].tobytes())
            if (document["format"], document["identity"]) != (FORMAT, identity):
                return False
            state, best = _numbered(file, "state"), _numbered(file, "best")
        variables = _variables(loop)
        expected = [*(variable.numpy() for variable in variables), *loop.network.model.get_weights()]
        if [(a.shape, a.dtype) for a in (*state, *best)] != [(a.shape, a.dtype) for a in expected]:
            raise ValueError("its weights are of another network")
        rng = type(loop.rng.bit_generator)()
        rng.state = document["rng"]
        history = {name: scores[:epochs] for name, scores in document["history"].items()}
        seconds, best_loss, best_epoch = document["seconds"][:epochs], float(document["best"]), document["best_epoch"]
        if best_epoch > epochs:
            raise ValueError(f"its weights are of epoch {best_epoch}, but epochs={epochs}")
    except FileNotFoundError:
        return False
    except Exception as error:  # numpy, zipfile, zlib and json raise errors of many classes for damaged bytes
        raise ValueError(f"{path} cannot be continued from ({error})") from None
    for variable, value in zip(variables, state, strict=True):
        variable.assign(value)
    loop.rng.bit_generator.state = rng.state
    loop.history, loop.seconds = history, seconds
    loop.best_loss, loop.best_epoch, loop.best_weights = best_loss, best_epoch, best
    return True


def _variables(loop: EpochLoop) -> list[Any]:
    """The variables that an epoch changes: weights, statistics of normalisations, seeds, the state of the optimiser."""
    model = loop.network.model
    weights = {id(weight) for weight in model.weights}
    seeds = [variable for variable in model.variables if id(variable) not in weights]
    return [*model.weights, *seeds, *loop.network.adam.state]


def _numbered(arrays: Mapping[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    return [arrays[f"{prefix}_{n}"] for n in range(sum(name.startswith(f"{prefix}_") for name in arrays))]
