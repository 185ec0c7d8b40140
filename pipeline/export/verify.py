"""Verify that an exported model gives the probabilities that the cached features and the head give."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.conv_base.preprocessing import preprocess_array
from pipeline.defaults import COMPARED, FORMATS
from pipeline.errors import ExportError, ImagesError, StoreError, StoreMismatch
from pipeline.export.assemble import find_head
from pipeline.export.load import Predict, load_exported
from pipeline.export.record import ExportRecord, read_record
from pipeline.export.tflite import keeps_int8
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.durable import sha256_of
from pipeline.images.decode import DecodeError
from pipeline.store import FeatureStore
from pipeline.text import COMMAND

# Bounds of the largest difference by the store's precision. The model resizes images to within 1e-5 of a grey
# level of stage one, in a .tflite file to within 0.01, which sometimes rounds to another bfloat16 or integer: the
# largest difference on 785 photos was 0.02 in bfloat16, 2e-5 in float32, and 0.2 in int8.
BOUNDS = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.01, "int8": 0.5}
# Bounds of a model that computes in float32 and features in another precision: they differed by up to 0.07 in bfloat16
# on 100 photos, and by up to 0.9 in int8 on 785, so that only the median tells something, which was 5e-4.
FLOAT32_BOUNDS = {"float32": 1e-3, "bfloat16": 0.2, "float16": 0.2, "int8": 1.0}
VERIFIED = {FORMATS[format]: format for format in ("keras", "tflite")}  # those that `read_record` can check


class Agreement(NamedTuple):
    """Differences between the probabilities of a model and those of features and head."""

    images: int  # the number of images compared
    largest: float  # the largest over images of the largest difference of a class's probability
    median: float  # the median over images of this difference
    other_labels: int  # the number of images that get different labels
    bound: float  # the allowed value of `largest`
    in_float32: bool  # whether the model computes in float32 for any precision of the store

    @property
    def holds(self) -> bool:
        """Whether `largest` is within the bound and `median` within a tenth of it."""
        return self.largest <= self.bound and self.median <= self.bound / 10


def verify_model(
    store: FeatureStore, file: str | Path, *, images: int = COMPARED, callbacks: Callbacks = SILENT
) -> Agreement:
    """Compare an exported `.keras` or `.tflite` file with the features and the saved head from which it was made.

    The file is not trusted: it is checked, see `read_record`, and Keras loads it in safe mode. `images` is the
    number of validation images to compare, evenly spaced over all of them, or over all images if none is for
    validation. Each is decoded as the store's spec says, not resized, and resized by the model.
    A file that cannot be verified raises ExportError, one of another store or head StoreMismatch, and an image
    that is missing or was changed ImagesError.
    """
    file = Path(file)
    record = check_record(store, file)
    head = find_head(store, record.head)
    if head.model_sha256_ != record.head_sha256:
        raise _mismatch(file, store, f"{record.head} head", record.head_sha256, head.model_sha256_)
    sides = store.conv_base_spec.height_width if record.form == "slides" else (None, None)
    columns = len(record.classes) if len(record.classes) > 2 else 1
    format = VERIFIED[file.suffix]
    predict = load_exported(file, format, ((None, *sides, 3), (None, columns)))
    return compare_with_store(store, head, predict, record.form, format=format, images=images, callbacks=callbacks)


def compare_with_store(
    store: FeatureStore,
    head: Any,
    predict: Predict,
    form: str,
    *,
    format: str,
    images: int,
    callbacks: Callbacks = SILENT,
) -> Agreement:
    """Compare the probabilities that `predict` gives for images with those that the head gives for their features.

    `form` and `format` are those of the model behind `predict`. `images` and `callbacks`: see `verify_model`.
    """
    if store.spec.view is not None:
        raise ExportError(f"{store.directory} holds features of augmented images; give the store of the images")
    members = store.members("validation") if len(store.members("validation")) else store.members()
    if not len(members):
        raise StoreError(f"{store.directory} has no images with features to compare with")
    chosen = members[np.linspace(0, len(members) - 1, min(images, len(members))).astype(int)]
    expected = np.zeros((len(chosen), len(store.classes)))
    expected[:, head.classes_] = head.predict_proba(store.read_rows(store.index.rows[chosen]))
    predicted = np.empty_like(expected)
    for i, image_index in enumerate(chosen.tolist()):
        probabilities = predict(_model_input(store, image_index, form)[None])[0]
        predicted[i] = [1 - probabilities[0], probabilities[0]] if len(store.classes) == 2 else probabilities
        callbacks.progress("comparing", i + 1, len(chosen), "images")
    differences = np.abs(predicted - expected).max(axis=1)
    precision = store.spec.precision
    in_float32 = not keeps_int8(store, format) if precision == "int8" else format in ("tflite", "onnx")
    return Agreement(
        images=len(chosen),
        largest=float(differences.max()) if np.isfinite(differences).all() else float("inf"),
        median=float(np.median(differences)),
        other_labels=int(np.count_nonzero(predicted.argmax(axis=1) != expected.argmax(axis=1))),
        bound=(FLOAT32_BOUNDS if in_float32 else BOUNDS)[precision],
        in_float32=in_float32,
    )


def check_record(store: FeatureStore, file: Path) -> ExportRecord:
    """Read the record of an exported file and check that it is of this store, without loading the model here."""
    command = f"{COMMAND} export {store.directory}"
    if file.suffix not in VERIFIED:
        raise ExportError(
            f"{file}: only a {' or '.join(VERIFIED)} file can be verified; write one of the same head with "
            f"`{command} FILE{FORMATS['keras']}`"
        )
    if not file.is_file():
        raise ExportError(f"{file} is not a file; write it with `{command} {file}`")
    record = read_record(file)
    if record.head_sha256 is None:
        raise ExportError(f"{file} was made of a {record.head} head that was never saved; save it and export it again")
    if record.fingerprint != store.fingerprint:
        raise _mismatch(file, store, "features", record.fingerprint, store.fingerprint)
    if record.classes != tuple(store.classes):
        raise _mismatch(file, store, "classes", ", ".join(record.classes), ", ".join(store.classes))
    return record


def _mismatch(file: Path, store: FeatureStore, what: str, of_file: Any, of_store: Any) -> StoreMismatch:
    short = [str(value)[:12] if len(str(value)) == 64 else str(value) for value in (of_file, of_store)]
    return StoreMismatch(
        f"{file} was made of {what} {short[0]}, {store.directory} has {short[1]}; export it again, or give the store "
        "that it was made of",
        [(what, of_store, of_file)],
    )


def _model_input(store: FeatureStore, image_index: int, form: str) -> np.ndarray:
    """Return an image of the store as the model takes it, float32: at its own size, or preprocessed for slides."""
    path, spec = Path(store.images.root, store.images.ids[image_index]), store.spec
    remedy = f"run `{COMMAND} features IMAGES --cache {store.directory}` again"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImagesError(f"{path} cannot be read ({error.strerror}); restore it, or {remedy}") from None
    if sha256_of(data) != store.images.contents[image_index].tobytes().hex():
        raise ImagesError(f"{path} is not the image that its features were made from; {remedy}")
    try:
        if form == "slides":
            return preprocess_array(spec.decode_image(data), store.conv_base_spec)
        return spec.decode_upright(data)
    except DecodeError as error:
        raise ImagesError(f"{path} cannot be decoded: {error}") from None
