"""A trained head as Keras layers: from features to probabilities, in float32.

All that a scikit-learn head computes from pooled features before its first nonlinearity is one
affine map. It is multiplied out in float64, so that scaling and calibration need no layers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from pipeline.errors import HeadError

UNTRAINED_LOGIT = -1e9  # of a class that was not trained on: its softmax is exactly 0
KERAS_POOLS = {"avg": "GlobalAveragePooling", "max": "GlobalMaxPooling"}


class Affine(NamedTuple):
    """The weights of an affine map, x @ kernel + bias."""

    kernel: np.ndarray  # (inputs, outputs)
    bias: np.ndarray  # (outputs,)

    def after(self, scaler: Any) -> Affine:
        """Return this map of scaled features as a map of unscaled features."""
        kernel = self.kernel / scaler.scale_[:, None]
        return Affine(kernel, self.bias - scaler.mean_ @ kernel)


def head_layers(head: Any, class_names: Sequence[str]) -> list[keras.layers.Layer]:
    """Return Keras layers, with their weights, that compute the same as `predict_proba` of a fitted head.

    The name of the head is in `KERAS_HEADS`, its labels are indices into `class_names`. The first layer
    takes features (n, *head.feature_shape_). With two classes the last is a sigmoid of one column, the
    probability of the second class; with more it is a softmax with one column per class name, 0 for a
    class that the head was not trained on. Its name holds the class names; see `read_class_names`.
    """
    *hidden, last = _affine_maps(head)
    last = _with_all_columns(last, head.classes_, len(class_names))
    top_layers = [head.model_.get_layer("upper")] if head.name == "finetuned" else []
    layers = [*top_layers, *pooling_layers(getattr(head, "pool", "flatten"), head.feature_shape_)]
    for number, affine in enumerate(hidden, 1):
        layers.append(_dense(affine, "relu", f"dense_{number}"))
        if getattr(head, "dropout", 0):
            layers.append(keras.layers.Dropout(head.dropout, name=f"dropout_{number}", dtype="float32"))
    activation = "sigmoid" if len(class_names) == 2 else "softmax"
    return [*layers, _dense(last, activation, write_class_names(class_names))]


def write_class_names(class_names: Sequence[str]) -> str:
    """Return class names as the name of a layer, `classes.cats.dogs`.

    TensorFlow allows few characters in it: all but ASCII letters, digits and `-` become their
    hexadecimal number, `_20_`.
    """
    safe = [re.sub(r"[^A-Za-z0-9-]", lambda match: f"_{ord(match[0]):x}_", name) for name in class_names]
    return ".".join(["classes", *safe])


def read_class_names(layer_name: str) -> list[str]:
    """Return the class names from a name that `write_class_names` made."""
    safe = layer_name.split(".")[1:]
    return [re.sub("_([0-9a-f]+)_", lambda match: chr(int(match[1], 16)), name) for name in safe]


def _affine_maps(head: Any) -> list[Affine]:
    """Return the head's affine maps, float64, with a ReLU between them; the last one gives logits.

    With two classes there is one column, the logit of the second class.
    """
    if head.is_network:
        model = head.model_.get_layer("dense_head") if head.name == "finetuned" else head.model_
        dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
        return [Affine(*(np.asarray(weight, np.float64) for weight in layer.get_weights())) for layer in dense]
    scaler, classifier = head.pipeline_["scale"], head.pipeline_["classify"]
    if head.name == "mlp":
        first, *others = (Affine(*pair) for pair in zip(classifier.coefs_, classifier.intercepts_, strict=True))
        return [first.after(scaler), *others]
    linear = classifier if head.name == "logistic" else head.linear_
    coefficients = np.atleast_2d(linear.coef_).astype(np.float64)
    scores = Affine(coefficients.T, np.atleast_1d(linear.intercept_).astype(np.float64)).after(scaler)
    if head.name == "logistic":
        return [scores]
    # With two classes, a softmax of (-score, score) is a sigmoid of twice the score.
    factor = head.inverse_temperature_ * (2 if len(head.classes_) == 2 else 1)
    return [Affine(scores.kernel * factor, scores.bias * factor)]


def _with_all_columns(logits: Affine, labels: np.ndarray, classes: int) -> Affine:
    """Return logits with one column for two classes, otherwise with one per class; `labels` were trained on."""
    if classes == 2:
        return logits
    if len(labels) == 2:  # a sigmoid of z is a softmax of (0, z)
        logits = Affine(*(np.concatenate([np.zeros_like(part), part], axis=-1) for part in logits))
    kernel, bias = np.zeros((len(logits.kernel), classes)), np.full(classes, UNTRAINED_LOGIT)
    kernel[:, labels], bias[labels] = logits
    return Affine(kernel, bias)


def pooling_layers(how: str, row_shape: tuple[int, ...], name: str = "pool") -> list[keras.layers.Layer]:
    """Return the layers, at most one, that pool features of shape (n, *row_shape) as `Pool` does."""
    if len(row_shape) == 1 and how != "flatten":
        return []
    if how == "flatten":
        return [keras.layers.Flatten(name="flatten", dtype="float32")]
    layer = getattr(keras.layers, f"{KERAS_POOLS[how]}{len(row_shape) - 1}D", None)
    if layer is None:
        raise HeadError(f"features of shape {row_shape} cannot be pooled by a Keras layer; train with pool=flatten")
    return [layer(name=name, dtype="float32")]


def _dense(affine: Affine, activation: str, name: str) -> keras.layers.Dense:
    inputs, outputs = affine.kernel.shape
    layer = keras.layers.Dense(outputs, activation=activation, name=name, dtype="float32")
    layer.build((None, inputs))
    layer.set_weights([part.astype(np.float32) for part in affine])
    return layer
