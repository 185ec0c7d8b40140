"""Assemble conv base and head into one Keras model that needs no part of this package.

The image form takes decoded images of any size. The slides' form is the model of the lecture: conv
base, flatten and the dense head in one `Sequential` that takes preprocessed images.
"""

import re
from collections.abc import Sequence
from typing import Any

from pipeline.conv_base.keras_setup import Model, import_keras, run_isolated
from pipeline.conv_base.load import ConvBase
from pipeline.defaults import FORMS
from pipeline.errors import HeadError, StoreMismatch
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.conv_base_loading import load_keras_conv_base
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
        otherwise of shape (b, k), a column for each of `store.classes`. The conv base, or each one of a
        joined store, is frozen and computes in the store's precision, or in float32 if that is int8. The
        image form rounds features to the store's dtype, as the cache does. The name of the last layer
        contains the class names; the name of the model contains conv base, head and the first digits of
        the store's fingerprint.

    Raises
    ------
    StoreError
        The slides' form is asked for a joined store.
    HeadError
        There is no such head, Keras has no layers for it (knn, forest), or the slides' form is asked
        for a head other than dense.
    StoreMismatch
        The head was trained on other features or classes, or the conv base has changed; see
        `load_keras_conv_base`.
    SpecError
        See `load_keras_conv_base`.

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
    if form == "slides":
        store.check_not_joined()
    check_expressible(store, trained)
    conv_bases = [load_keras_conv_base(part, callbacks) for part in store.parts]
    return run_isolated(_build_slides if form == "slides" else _build_model, store, conv_bases, trained)


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


def _build_slides(store: FeatureStore, conv_bases: Sequence[ConvBase], head: Any) -> Model:
    from pipeline.heads.keras_layers import head_layers

    keras, (conv_base,) = import_keras(), conv_bases
    images = keras.Input((*conv_base.spec.height_width, 3), name="images")
    (base,) = (layer for layer in conv_base.model.layers if isinstance(layer, keras.Model))  # no preprocessing
    name = _model_name(store, conv_base.model.name, head)
    return keras.Sequential([images, base, *head_layers(head, store.classes)], name=name)


def _build_model(store: FeatureStore, conv_bases: Sequence[ConvBase], head: Any) -> Model:
    from pipeline.heads.keras_layers import head_layers

    keras = import_keras()
    images = keras.Input((None, None, 3), dtype="float32", name="images")
    if store.is_joined:
        parts = [_pooled_features(conv_base, images, f"_{i}") for i, conv_base in enumerate(conv_bases, 1)]
        features, base_name = keras.layers.Concatenate(dtype="float32", name="join")(parts), store.spec.name
    else:
        features, base_name = _stored_features(conv_bases[0], images), conv_bases[0].model.name
    for layer in head_layers(head, store.classes):
        features = layer(features)
    return keras.Model(images, features, name=_model_name(store, base_name, head))


def _stored_features(conv_base: ConvBase, images: Any, suffix: str = "") -> Any:
    """Return the features of a tensor of images, rounded as in a store; `suffix` ends the names of the layers."""
    keras, spec = import_keras(), conv_base.spec
    antialias = {"antialias": True} if spec.resize == "antialias" else {}  # old versions of Keras lack this argument
    name = f"resize{suffix}"
    resize = keras.layers.Resizing(*spec.height_width, "bilinear", dtype="float32", name=name, **antialias)
    model = conv_base.model
    if suffix:  # two parts may have the same name
        model = keras.Model(model.inputs[0], model.outputs[0], name=f"{model.name}{suffix}")
    features = model(resize(images))
    if spec.store_dtype != "float32":
        features = keras.layers.Identity(dtype=spec.store_dtype, name=f"as_stored{suffix}")(features)
    return features


def _pooled_features(conv_base: ConvBase, images: Any, suffix: str) -> Any:
    """Return the features of a part of a joined store, (b, channels) float32."""
    from pipeline.heads.keras_layers import pooling_layers

    features = _stored_features(conv_base, images, suffix)
    for layer in pooling_layers("avg", conv_base.feature_shape, f"pool{suffix}"):
        features = layer(features)
    return features


def _model_name(store: FeatureStore, base_name: str, head: Any) -> str:
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", base_name)  # TensorFlow allows few characters
    return f"{safe}-{head.name}-{store.fingerprint[:12]}"
