"""Saving and loading heads, without pickle.

A head is a directory. `head.json` describes it and names its model file, which is named after its
own sha256; replacing `head.json` is what makes a new head the current one, so that a save that
stops anywhere leaves the old head whole. `metrics.json` says which model it was measured on.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from pipeline.errors import HeadError, StoreMismatch
from pipeline.files.durable import (
    canonical_json,
    read_json,
    remove_temporaries,
    sha256_of,
    write_durably,
    write_json,
)
from pipeline.files.lock import lock_directory
from pipeline.heads import HEADS, TUNED_HEADS, make_head
from pipeline.heads.metrics import METRICS, RECORD, TRAIN_IT

FORMAT = 1  # of head.json; raised when its fields or the model file come to mean something else
FIELDS = {
    "head": str,
    "params": dict,
    "classes": list,
    "label_classes": list,
    "fingerprint": str,
    "feature_shape": list,
    "model": str,
    "sha256": str,
}
PATIENCE = 30.0  # seconds to wait for another process that saves the same head


def save_head(
    head: Any,
    directory: str | Path,
    *,
    classes: Sequence[str],
    fingerprint: str,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Save a trained head, replacing the one in `directory`.

    Parameters
    ----------
    head : Head
        Trained, its labels being numbers of `classes`.
    directory : path
        Created where it is missing.
    classes : sequence of str
        All class names of the store, sorted; label 0 is the first.
    fingerprint : str
        Of the spec that the features were made from.
    metrics : mapping, optional
        Scores of this head, fit for JSON: those of `TrainedHead.metrics`, or the head is on no leaderboard.

    Raises
    ------
    HeadError
        The head is not trained or not one of `make_head`'s, its labels are no numbers of
        `classes`, or its parameters or metrics are not fit for JSON.
    StoreBusy, StoreError
        Another process keeps saving this head; the directory cannot be written to.
    OSError
        The disk is full, say; the head that was there still loads.
    """
    directory = Path(directory)
    record = _describe(head, classes, fingerprint)
    scores = None if metrics is None else _as_json("metrics", dict(metrics))
    data = _dump(head)
    digest = sha256_of(data)
    model = _model_name(head, digest)
    with lock_directory(directory, wait=PATIENCE):
        write_durably(directory / model, data)
        if scores is not None:
            write_json(directory / METRICS, {**scores, "model_sha256": digest})
        write_json(directory / RECORD, {**record, "model": model, "sha256": digest})
        with contextlib.suppress(OSError):  # the head is saved; the next save tries again
            remove_temporaries(directory)
            for old in directory.glob("model-*"):
                if old.name != model:
                    old.unlink()


def load_head(directory: str | Path, *, fingerprint: str | None = None) -> Any:
    """Load the head that was saved in `directory`.

    Parameters
    ----------
    directory : path
    fingerprint : str, optional
        Of the features it is to be used on.

    Returns
    -------
    Head
        Of the same class, parameters and predictions as the one that was saved, with the
        attributes `class_names_` (list of str, all classes of its store), `fingerprint_` and
        `model_sha256_` (of the saved model).
        A parameter that was a list is a tuple.

    Raises
    ------
    HeadError
        There is no head, or it is damaged, of another format, or more than data: no file can make
        this function run code.
    StoreMismatch
        It was trained on features of another fingerprint.
    """
    directory = Path(directory)
    record = _read_record(directory)
    if fingerprint is not None and fingerprint != record["fingerprint"]:
        raise StoreMismatch(
            f"the head in {directory} was trained on features {record['fingerprint'][:12]}, these are "
            f"{fingerprint[:12]}; train it on these with `python -m pipeline heads DIR`",
            [("fingerprint", record["fingerprint"], fingerprint)],
        )
    head = make_head(record["head"], **_with_tuples(record["params"]))
    head.classes_ = np.asarray(record["label_classes"])
    head.feature_shape_ = tuple(record["feature_shape"])
    head.n_features_in_ = int(np.prod(head.feature_shape_))
    head.class_names_ = list(record["classes"])
    head.fingerprint_ = record["fingerprint"]
    head.model_sha256_ = record["sha256"]
    _load_model(head, directory / record["model"], record["sha256"])
    return head


def _describe(head: Any, classes: Sequence[str], fingerprint: str) -> dict[str, Any]:
    name = getattr(head, "name", None)
    if name not in {**HEADS, **TUNED_HEADS}:
        raise HeadError(f"a {type(head).__name__} cannot be saved, only what make_head makes: {', '.join(HEADS)}")
    try:
        check_is_fitted(head)
    except NotFittedError:
        raise HeadError(f"the {name} head is not trained yet; call fit before save_head") from None
    labels = head.classes_
    if labels.dtype.kind not in "iu" or labels[0] < 0 or labels[-1] >= len(classes):
        raise HeadError(f"labels {labels.tolist()} are not numbers of the {len(classes)} classes (0 is the first)")
    params = head.get_params()
    if _with_tuples(_as_json("parameters", params)) != _with_tuples(params):
        raise HeadError(f"parameters {params} of the {name} head would not come back from JSON as they are")
    return {
        "format": FORMAT,
        "head": name,
        "params": params,
        "classes": [str(class_name) for class_name in classes],
        "label_classes": labels.tolist(),
        "fingerprint": fingerprint,
        "feature_shape": list(head.feature_shape_),
        "versions": _versions(*(("keras", "tensorflow") if head.is_network else ("skops",))),
    }


def _read_record(directory: Path) -> dict[str, Any]:
    path = directory / RECORD
    try:
        record = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise HeadError(f"no trained head in {directory}; train one with `python -m pipeline heads DIR`") from None
    except ValueError as error:
        raise HeadError(f"{error}; {TRAIN_IT}") from None
    if record.get("format") != FORMAT:
        raise HeadError(f"{path} has format {record.get('format')!r}, this version reads {FORMAT}; {TRAIN_IT}")
    wrong = [field for field, kind in FIELDS.items() if not isinstance(record.get(field), kind)]
    if wrong or not all(isinstance(n, int) for n in record["feature_shape"] + record["label_classes"]):
        raise HeadError(f"{path} lacks or garbles {', '.join(wrong) or 'shape or labels'}; {TRAIN_IT}")
    labels, names = record["label_classes"], record["classes"]
    if sorted(set(labels)) != labels or not set(labels) <= set(range(len(names))):
        raise HeadError(f"{path}: labels {labels} are not numbers of its {len(names)} classes; {TRAIN_IT}")
    return record


def _model_name(head: Any, digest: str) -> str:
    return f"model-{digest[:12]}.{'keras' if head.is_network else 'skops'}"


def _dump(head: Any) -> bytes:
    if head.is_network:
        from pipeline.heads import network

        return network.to_bytes(head.model_)
    from pipeline.heads import sklearn_files

    return sklearn_files.to_bytes(head.pipeline_)


def _load_model(head: Any, path: Path, digest: str) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HeadError(f"{path} cannot be read ({error.strerror}); {TRAIN_IT}") from None
    if path.name != _model_name(head, digest) or sha256_of(data) != digest:
        raise HeadError(f"{path} was changed or damaged after it was written (its sha256 differs); {TRAIN_IT}")
    try:
        if head.is_network:
            from pipeline.heads import network

            head.model_ = network.from_file(path, head.feature_shape_, len(head.classes_))
        else:
            from pipeline.heads import sklearn_files

            head.pipeline_ = sklearn_files.from_bytes(data, head)
    except Exception as error:  # a stranger's file can make the libraries raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise HeadError(f"{path} is no model of a {head.name} head ({reason}); {TRAIN_IT}") from error


def _as_json(what: str, value: Any) -> Any:
    try:
        return json.loads(canonical_json(value))
    except (TypeError, ValueError) as error:
        raise HeadError(f"{what} {value} are not fit for JSON ({error})") from None


def _with_tuples(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_with_tuples(item) for item in value)
    return {key: _with_tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def _versions(*libraries: str) -> dict[str, str]:
    modules = {name: importlib.import_module(name) for name in ("numpy", "sklearn", *libraries)}
    return {"python": platform.python_version()} | {name: module.__version__ for name, module in modules.items()}
