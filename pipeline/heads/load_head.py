"""`load_head` and `read_metrics`: a head, or its scores alone, from its directory; no file in it can run code."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import HeadError, StoreMismatch
from pipeline.files.durable import read_json, sha256_of
from pipeline.heads import make_head
from pipeline.text import COMMAND

RECORD = "head.json"
METRICS = "metrics.json"
FORMAT = 1  # of head.json; raised when the meaning of its fields or of the model file changes
TRAIN_IT = f"train it again with `{COMMAND} heads DIR`"


def load_head(directory: str | Path, *, fingerprint: str | None = None) -> Any:
    """Load the head that was saved in `directory`.

    Parameters
    ----------
    directory : path
    fingerprint : str, optional
        The fingerprint of the features that the head is to be used on.

    Returns
    -------
    Head
        Of the same class, parameters and predictions as the saved one, with the attributes
        `class_names_` (list of str, all classes of its store), `fingerprint_` and `model_sha256_`
        (of the model file). A parameter that was a list is a tuple.

    Raises
    ------
    HeadError
        There is no head, or it is damaged, of another format, or more than data. No file can make
        this function run code; see `pipeline.heads.untrusted_models`.
    StoreMismatch
        The head was trained on features of another fingerprint.
    """
    directory = Path(directory)
    record = _read_record(directory / RECORD)
    try:
        if fingerprint is not None and fingerprint != record["fingerprint"]:
            raise StoreMismatch(
                f"the head in {directory} was trained on features {record['fingerprint'][:12]}, these are "
                f"{fingerprint[:12]}; train it on these with `{COMMAND} heads DIR`",
                [("fingerprint", record["fingerprint"], fingerprint)],
            )
        head = make_head(record["head"], **lists_to_tuples(record["params"]))
        head.classes_ = np.array(record["label_classes"], np.int64)
        head.feature_shape_ = tuple(map(int, record["feature_shape"]))
        head.n_features_in_ = math.prod(head.feature_shape_)
        head.class_names_ = list(map(str, record["classes"]))
        head.fingerprint_, head.model_sha256_ = record["fingerprint"], record["sha256"]
        if sorted(set(record["label_classes"]) & {*range(len(head.class_names_))}) != record["label_classes"]:
            raise ValueError(f"labels {record['label_classes']} are not indices of {len(head.class_names_)} classes")
        path = directory / record["model"]
    except (LookupError, TypeError, ValueError) as error:
        raise HeadError(f"{directory / RECORD} does not describe a head ({error!r}); {TRAIN_IT}") from None
    _load_model(head, path)
    return head


def read_metrics(directory: str | Path) -> dict[str, Any] | None:
    """Read the scores saved with the head in `directory`, without loading it; None where this model has none."""
    try:
        record = read_json(Path(directory) / RECORD)
        metrics = read_json(Path(directory) / METRICS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise HeadError(f"{error}; {TRAIN_IT}") from None
    return metrics if metrics.pop("model_sha256", None) == record.get("sha256") else None


def model_name(head: Any, digest: str) -> str:
    """Return the name of a model file with the sha256 `digest`."""
    return f"model-{digest[:12]}.{'keras' if head.is_network else 'skops'}"


def lists_to_tuples(value: Any) -> Any:
    """Return a value of JSON with its lists, which heads do not take, as tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(lists_to_tuples(item) for item in value)
    return {key: lists_to_tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise HeadError(f"no trained head in {path.parent}; train one with `{COMMAND} heads DIR`") from None
    except ValueError as error:
        raise HeadError(f"{error}; {TRAIN_IT}") from None
    if record.get("format") != FORMAT:
        raise HeadError(f"{path} has format {record.get('format')!r}, this version reads {FORMAT}; {TRAIN_IT}")
    return record


def _load_model(head: Any, path: Path) -> None:
    from pipeline.heads.untrusted_models import load_network, load_pipeline

    try:
        data = path.read_bytes()
    except OSError as error:
        raise HeadError(f"{path} cannot be read ({error.strerror}); {TRAIN_IT}") from None
    digest = sha256_of(data)
    if digest != head.model_sha256_ or path.name != model_name(head, digest):
        raise HeadError(f"{path} was changed or damaged after it was written (its sha256 differs); {TRAIN_IT}")
    try:
        if head.is_network:
            head.model_ = load_network(path, head.feature_shape_, len(head.classes_))
        else:
            head.pipeline_ = load_pipeline(data, head)
    except Exception as error:  # an untrusted file can make the libraries raise errors of any class
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise HeadError(f"{path} is no model of a {head.name} head ({reason}); {TRAIN_IT}") from error
