"""Assemble conv base and head into one Keras model that needs no part of this package.

The image form takes decoded images of any size. The slides' form is the model of the lecture: conv
base, flatten and the dense head in one `Sequential` that takes preprocessed images.
"""

import re
from typing import Any

from pipeline.conv_base.keras_setup import Model, import_keras, run_isolated
from pipeline.conv_base.load import ConvBase
from pipeline.defaults import FORMS
from pipeline.errors import HeadError, StoreMismatch
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.conv_base_loading import load_float_conv_base
from pipeline.heads import KERAS_HEADS
from pipeline.heads.load_head import load_head
from pipeline.store import FeatureStore
from pipeline.text import COMMAND
from pipeline.training.best_head import choose_head


def assemble_model(store: FeatureStore, head: Any, *, form: str = "image", callbacks: Callbacks = SILENT) -> Model:
    """Put a store's conv base and a head trained on its features into one Keras model.

    Parameters
    ----------
    store : FeatureStore
    head : str or Head
        The name of a saved head, or a fitted head.
    form : {"image", "slides"}
        `image`: resizing, preprocessing, conv base and head; maps upright RGB images of shape (b, any
        height, any width, 3), uint8 or float in 0..255, to probabilities. `slides`: a `Sequential` of
        conv base, flatten and the layers of a dense head; maps images of shape (b, height, width, 3)
        with the spec's size and preprocessing to probabilities.
    callbacks : Callbacks, optional

    Returns
    -------
    keras.Model
        Its output is float32: for two classes of shape (b, 1), the probability of the second one;
        otherwise of shape (b, k), a column for each of `store.classes`. The conv base is frozen and
        computes in the store's precision, or in float32 if that is int8. The image form rounds features
        to the store's dtype, as the cache does. The name of the last layer contains the class names; the
        name of the model contains conv base, head and the first digits of the store's fingerprint.

    Raises
    ------
    HeadError
        There is no such head, Keras has no layers for it (knn, forest), or the slides' form is asked
        for a head other than dense.
    StoreMismatch
        The head was trained on other features or classes, or the conv base has changed; see
        `load_float_conv_base`.
    SpecError
        See `load_float_conv_base`.

    Notes
    -----
    The model resizes with `tf.image.resize`, which gives the values of stage one within 1e-4 of a grey
    level, for `bilinear` and `antialias`. The caller's decoder must apply the EXIF orientation, convert
    16 bits to 8, and choose a frame of an animation.
    """
    if form not in FORMS:
        raise HeadError(f"form {form!r} is not one of {', '.join(FORMS)}")
    trained = find_head(store, head)
    if form == "slides" and trained.name != "dense":
        raise HeadError(f"the slides' model ends in a dense head, not {trained.name}; export it in the image form")
    check_expressible(store, trained)
    conv_base = load_float_conv_base(store, callbacks)
    return run_isolated(_build_model, store, conv_base, trained, form)


def check_expressible(store: FeatureStore, head: Any) -> None:
    """Check that Keras has layers for a fitted head; otherwise raise HeadError."""
    if head.name not in KERAS_HEADS:
        raise HeadError(
            f"a {head.name} head cannot be expressed as Keras layers; `{COMMAND} predict {store.directory} "
            f"IMAGES` works with it; of the others, {', '.join(KERAS_HEADS)}, Keras can"
        )


def find_head(store: FeatureStore, head: Any) -> Any:
    """Load a saved head by its name, or take a fitted head, and check that it was trained on the store.

    A head of other classes or features raises StoreMismatch, one that is damaged or not trained HeadError.
    """
    if isinstance(head, str):
        name = choose_head(store, head).name
        head = load_head(store.heads_directory / name, fingerprint=store.fingerprint)
    if not hasattr(head, "classes_"):
        raise HeadError(f"the {head.name} head is not trained yet; call fit first")
    labels, names = head.classes_, getattr(head, "class_names_", list(store.classes))
    if labels.dtype.kind not in "iu":
        raise HeadError(f"the {head.name} head was trained on labels {labels.tolist()}, not on numbers of classes")
    are_indices = labels[0] >= 0 and labels[-1] < len(names)
    for what, of_head, of_store in (
        ("classes", names if are_indices else labels.tolist(), list(store.classes)),
        ("features of shape", tuple(head.feature_shape_), tuple(store.feature_shape)),
        ("fingerprint", getattr(head, "fingerprint_", store.fingerprint), store.fingerprint),
    ):
        if of_head != of_store:
            raise StoreMismatch(
                f"the {head.name} head was trained on {what} {of_head}, {store.directory} has {of_store}; train it "
                f"again with `{COMMAND} heads {store.directory}`",
                [(what, of_store, of_head)],
            )
    return head


def _build_model(store: FeatureStore, conv_base: ConvBase, head: Any, form: str) -> Model:
    from pipeline.heads.keras_layers import head_layers

    keras, spec, layers = import_keras(), conv_base.spec, head_layers(head, store.classes)
    base_name = re.sub(r"[^A-Za-z0-9_-]", "_", conv_base.model.name)  # TensorFlow allows few characters
    name = f"{base_name}-{head.name}-{store.fingerprint[:12]}"
    if form == "slides":
        images = keras.Input((*spec.height_width, 3), name="images")
        (base,) = (layer for layer in conv_base.model.layers if isinstance(layer, keras.Model))  # no preprocessing
        return keras.Sequential([images, base, *layers], name=name)
    images = keras.Input((None, None, 3), dtype="float32", name="images")
    antialias = {"antialias": True} if spec.resize == "antialias" else {}  # old versions of Keras lack this argument
    resize = keras.layers.Resizing(*spec.height_width, "bilinear", dtype="float32", name="resize", **antialias)
    features = conv_base.model(resize(images))
    if spec.store_dtype != "float32":
        features = keras.layers.Identity(dtype=spec.store_dtype, name="as_stored")(features)
    for layer in layers:
        features = layer(features)
    return keras.Model(images, features, name=name)
