"""`save_head`: a trained head as a directory, without pickle.

`head.json` describes the head and names its model file, which is named after its own sha256.
Replacing `head.json` makes a new head the current one, so that an interrupted save leaves the old
head complete. `metrics.json` names the model that was scored.
"""

import contextlib
import importlib
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from pipeline.errors import HeadError
from pipeline.files.durable import canonical_json, remove_temporaries, sha256_of, write_durably, write_json
from pipeline.files.lock import lock_directory
from pipeline.heads import HEADS, TUNED_HEADS
from pipeline.heads.load_head import FORMAT, METRICS, RECORD, lists_to_tuples, model_name

LOCK_SECONDS = 30.0  # to wait for another process that saves the same head


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
        Trained on labels that are indices into `classes`.
    directory : path
        Created where it is missing.
    classes : sequence of str
        All class names of the store, sorted; label 0 is the first.
    fingerprint : str
        The fingerprint of the spec of the features.
    metrics : mapping, optional
        Scores of this head that JSON can hold, such as `TrainedHead.metrics`. Without them the head
        is on no leaderboard.

    Raises
    ------
    HeadError
        The head is not trained or not made by `make_head`, its labels are no indices into
        `classes`, or JSON cannot hold its parameters or metrics.
    StoreBusy, StoreError
        Another process keeps saving this head; the directory cannot be written to.
    OSError
        The disk is full, for example; the old head still loads.
    """
    directory = Path(directory)
    record = _describe(head, classes, fingerprint)
    scores = None if metrics is None else _through_json("metrics", dict(metrics))
    data = _dump_model(head)
    digest = sha256_of(data)
    model = model_name(head, digest)
    with lock_directory(directory, wait=LOCK_SECONDS):
        write_durably(directory / model, data)
        if scores is not None:
            write_json(directory / METRICS, {**scores, "model_sha256": digest})
        write_json(directory / RECORD, {**record, "model": model, "sha256": digest})
        with contextlib.suppress(OSError):  # the head is saved; the next save removes what is left
            remove_temporaries(directory)
            for old in directory.glob("model-*"):
                if old.name != model:
                    old.unlink()


def _describe(head: Any, classes: Sequence[str], fingerprint: str) -> dict[str, Any]:
    """Check that a head can be saved and return its record, without the model file."""
    name = getattr(head, "name", None)
    if name not in {**HEADS, **TUNED_HEADS}:
        raise HeadError(f"a {type(head).__name__} cannot be saved, only what make_head makes: {', '.join(HEADS)}")
    try:
        check_is_fitted(head)
    except NotFittedError:
        raise HeadError(f"the {name} head is not trained yet; call fit before save_head") from None
    labels = head.classes_
    if labels.dtype.kind not in "iu" or labels[0] < 0 or labels[-1] >= len(classes):
        raise HeadError(f"labels {labels.tolist()} are not indices of the {len(classes)} classes (0 is the first)")
    params = head.get_params()
    if lists_to_tuples(_through_json("parameters", params)) != lists_to_tuples(params):
        raise HeadError(f"parameters {params} of the {name} head change when they are written to JSON and read again")
    libraries = ("numpy", "sklearn", *(("keras", "tensorflow") if head.is_network else ("skops",)))
    versions = {library: importlib.import_module(library).__version__ for library in libraries}
    return {
        "format": FORMAT,
        "head": name,
        "params": params,
        "classes": [str(class_name) for class_name in classes],
        "label_classes": labels.tolist(),
        "fingerprint": fingerprint,
        "feature_shape": list(head.feature_shape_),
        "versions": {"python": platform.python_version(), **versions},
    }


def _dump_model(head: Any) -> bytes:
    """Return the model as the bytes of a `.skops` file, or of a `.keras` file without the optimiser's state."""
    if not head.is_network:
        import skops.io

        return skops.io.dumps(head.pipeline_)
    bare = type(head.model_).from_config(head.model_.get_config())
    bare.set_weights(head.model_.get_weights())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.keras"
        bare.save(path)
        return path.read_bytes()


def _through_json(what: str, value: Any) -> Any:
    try:
        return json.loads(canonical_json(value))
    except (TypeError, ValueError) as error:
        raise HeadError(f"{what} {value} are not fit for JSON ({error})") from None
