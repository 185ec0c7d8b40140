"""Does an exported model say what cache and head say?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.conv_base.load import preprocess
from pipeline.defaults import COMPARED, FORMATS
from pipeline.errors import ExportError, ImagesError, StoreError, StoreMismatch
from pipeline.export.assemble import find_head
from pipeline.export.load import Predict, load_exported
from pipeline.export.record import ExportRecord, read_record
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.durable import sha256_of
from pipeline.images.decode import DecodeError, decode_image
from pipeline.store import FeatureStore

# Of the largest difference. Resizing in the model and in stage one differ by 1e-5 of a grey level, which
# now and then rounds to another bfloat16: up to 0.02 was seen on 785 photos, and 2e-5 in float32.
BOUNDS = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.01}
OTHER_PRECISION = 0.2  # a model in float32 against features in bfloat16: up to 0.07 was seen on 100 photos


class Agreement(NamedTuple):
    """How far two ways to a probability lie apart.

    Attributes
    ----------
    images : int
    largest, median : float
        Of the images' largest difference in the probability of a class.
    other_labels : int
        Images to which they give different labels.
    bound : float
        What the largest may be.
    """

    images: int
    largest: float
    median: float
    other_labels: int
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the largest difference is within the bound, and the median within a tenth of it."""
        return self.largest <= self.bound and self.median <= self.bound / 10


def verify_model(
    store: FeatureStore,
    file: str | Path,
    *,
    images: int = COMPARED,
    callbacks: Callbacks = SILENT,
) -> Agreement:
    """Compare an exported `.keras` file with the features and the saved head that it was made of.

    Parameters
    ----------
    store : FeatureStore
    file : path
        A stranger's, for all that is known: it is checked, and loaded in safe mode.
    images : int
        How many validation images, spread over all of them; all images where there are none. Each is
        decoded at its own size, as a user would, and resized by the model.
    callbacks : Callbacks, optional

    Raises
    ------
    ExportError
        The file is missing, hostile or no `.keras` file of `export_model`, its model takes or gives
        other shapes than it says, or its head was never saved.
    StoreMismatch
        It was made of another store's features, other classes, or another head than is saved there now.
    HeadError
        The head is gone or damaged.
    ImagesError
        An image is gone or was changed.
    StoreDamaged
        A row is not what was written.
    """
    file = Path(file)
    record = check_record(store, file)
    head = find_head(store, record.head)
    if head.model_sha256_ != record.head_sha256:
        raise _mismatch(file, store, f"{record.head} head", record.head_sha256, head.model_sha256_)
    sides = store.spec.height_width if record.form == "slides" else (None, None)
    columns = len(record.classes) if len(record.classes) > 2 else 1
    predict = load_exported(file, "keras", ((None, *sides, 3), (None, columns)))
    return compare_with_store(store, head, predict, record.form, images=images, callbacks=callbacks)


def compare_with_store(
    store: FeatureStore,
    head: Any,
    predict: Predict,
    form: str,
    *,
    images: int,
    in_float32: bool = False,
    callbacks: Callbacks = SILENT,
) -> Agreement:
    """Compare what `predict` says of images with what the head says of their features.

    Parameters
    ----------
    store : FeatureStore
    head : Head
    predict : callable
        Of `load_exported`.
    form : {"image", "slides"}
        What `predict` takes.
    in_float32 : bool
        Whether `predict` computes in float32 whatever the store's precision, as TensorFlow Lite and
        ONNX do.
    images, callbacks
        See `verify_model`.
    """
    if store.spec.view is not None:
        raise ExportError(f"{store.directory} holds features of augmented images; compare with those of the images")
    precision = store.spec.precision
    members = store.members("validation") if len(store.members("validation")) else store.members()
    if not len(members):
        raise StoreError(f"{store.directory} has no images with features to compare with")
    chosen = members[np.linspace(0, len(members) - 1, min(images, len(members))).astype(int)]
    expected = np.zeros((len(chosen), len(store.classes)))
    expected[:, head.classes_] = head.predict_proba(store.read_rows(store.index.rows[chosen]))
    found = np.empty_like(expected)
    for done, member in enumerate(chosen.tolist()):
        probabilities = predict(_input(store, member, form)[None])[0]
        found[done] = [1 - probabilities[0], probabilities[0]] if len(store.classes) == 2 else probabilities
        callbacks.progress("comparing", done + 1, len(chosen), "images")
    differences = np.abs(found - expected).max(axis=1)
    return Agreement(
        images=len(chosen),
        largest=float(differences.max()) if np.isfinite(differences).all() else float("inf"),
        median=float(np.median(differences)),
        other_labels=int(np.count_nonzero(found.argmax(axis=1) != expected.argmax(axis=1))),
        bound=OTHER_PRECISION if in_float32 and precision != "float32" else BOUNDS[precision],
    )


def check_record(store: FeatureStore, file: Path) -> ExportRecord:
    """What an exported `.keras` file says of itself, which must be of this store; its model is not loaded.

    Raises
    ------
    ExportError, StoreMismatch
        See `verify_model`.
    """
    suffix = FORMATS["keras"]
    export = f"python -m pipeline export {store.directory}"
    if file.suffix != suffix:
        raise ExportError(
            f"{file}: only a {suffix} file can be verified; write one of the same head with `{export} FILE{suffix}`"
        )
    if not file.is_file():
        raise ExportError(f"{file} is not a file; write it with `{export} {file}`")
    record = read_record(file)
    if record.head_sha256 is None:
        raise ExportError(f"{file} was made of a {record.head} head that was never saved; save it and export it anew")
    if record.fingerprint != store.fingerprint:
        raise _mismatch(file, store, "features", record.fingerprint, store.fingerprint)
    if record.classes != tuple(store.classes):
        raise _mismatch(file, store, "classes", ", ".join(record.classes), ", ".join(store.classes))
    return record


def _mismatch(file: Path, store: FeatureStore, what: str, of_file: Any, of_store: Any) -> StoreMismatch:
    short = [str(text)[:12] if len(str(text)) == 64 else str(text) for text in (of_file, of_store)]
    return StoreMismatch(
        f"{file} was made of {what} {short[0]}, {store.directory} has {short[1]}; export it anew, or give the store "
        "that it was made of",
        [(what, of_store, of_file)],
    )


def _input(store: FeatureStore, member: int, form: str) -> np.ndarray:
    """An image of the store as the model takes it, float32: at its own size, or preprocessed for the slides' form."""
    path, spec = Path(store.images.root, store.images.ids[member]), store.spec
    again = f"run `python -m pipeline features IMAGES --cache {store.directory}` again"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImagesError(f"{path} cannot be read ({error.strerror}); put it back, or {again}") from None
    if sha256_of(data) != store.images.contents[member].tobytes().hex():
        raise ImagesError(f"{path} is not the image that its features were made from; {again}")
    try:
        if form == "slides":
            return preprocess(spec, decode_image(data, spec.height_width, spec.resize))
        return decode_image(data, lambda height, width: (height, width))
    except DecodeError as error:
        raise ImagesError(f"{path} cannot be decoded: {error}") from None
