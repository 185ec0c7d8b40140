"""A trained head as Keras layers: from features to probabilities, in float32.

What a scikit-learn head does to pooled features before its first nonlinearity is one affine map. It
is multiplied out in float64, so that scaling and calibration cost no layer of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from pipeline.errors import HeadError

NEVER = -1e9  # the logit of a class that was not trained on: a softmax makes an exact 0 of it
POOLING = {  # by how, and by the number of axes of one row
    ("avg", 2): keras.layers.GlobalAveragePooling1D,
    ("avg", 3): keras.layers.GlobalAveragePooling2D,
    ("avg", 4): keras.layers.GlobalAveragePooling3D,
    ("max", 2): keras.layers.GlobalMaxPooling1D,
    ("max", 3): keras.layers.GlobalMaxPooling2D,
    ("max", 4): keras.layers.GlobalMaxPooling3D,
}


class Affine(NamedTuple):
    """A layer's numbers: x @ kernel + bias."""

    kernel: np.ndarray  # (inputs, outputs)
    bias: np.ndarray  # (outputs,)

    def after(self, scaler: Any) -> Affine:
        """This map of what a StandardScaler makes of x, as a map of x."""
        kernel = self.kernel / scaler.scale_[:, None]
        return Affine(kernel, self.bias - scaler.mean_ @ kernel)

    def times(self, factor: float) -> Affine:
        """This map, multiplied."""
        return Affine(self.kernel * factor, self.bias * factor)


def head_layers(head: Any, class_names: Sequence[str]) -> list[keras.layers.Layer]:
    """The layers that compute what `head.predict_proba` computes.

    Parameters
    ----------
    head : Head
        Fitted; one of `KERAS_HEADS`.
    class_names : sequence of str
        All classes of the store; the head's labels are numbers of them.

    Returns
    -------
    list of keras.layers.Layer
        Built, with their weights. The first takes features (n, *head.feature_shape_). With two
        classes the last is a sigmoid of one column, the probability of the second; with more it is a
        softmax with a column for each of `class_names`, 0 for one that the head was not trained on.
        The last layer's name holds the class names; see `read_class_names`.

    Raises
    ------
    HeadError
        The head pools features in a way that Keras has no layer for.
    """
    *hidden, last = _affine_maps(head)
    last = _with_all_columns(last, head.classes_, len(class_names))
    layers = [*_upper(head), *_pooling(getattr(head, "pool", "flatten"), head.feature_shape_)]
    for number, numbers in enumerate(hidden, 1):
        layers.append(_dense(numbers, "relu", f"dense_{number}"))
        if getattr(head, "dropout", 0):
            layers.append(keras.layers.Dropout(head.dropout, name=f"dropout_{number}", dtype="float32"))
    activation = "sigmoid" if len(class_names) == 2 else "softmax"
    return [*layers, _dense(last, activation, write_class_names(class_names))]


def write_class_names(class_names: Sequence[str]) -> str:
    """Class names as the name of a layer: `classes.cats.dogs`.

    TensorFlow takes few characters: others than ASCII letters, digits and `-` become `_20_`, their
    number in hexadecimal.
    """
    safe = [re.sub(r"[^A-Za-z0-9-]", lambda match: f"_{ord(match[0]):x}_", name) for name in class_names]
    return ".".join(["classes", *safe])


def read_class_names(layer_name: str) -> list[str]:
    """The class names that `write_class_names` made a layer's name of."""
    safe = layer_name.split(".")[1:]
    return [re.sub("_([0-9a-f]+)_", lambda match: chr(int(match[1], 16)), name) for name in safe]


def _upper(head: Any) -> list[keras.layers.Layer]:
    """The layers of the conv base that a fine-tuned head brings along, as one."""
    return [head.model_.get_layer("upper")] if head.name == "finetuned" else []


def _affine_maps(head: Any) -> list[Affine]:
    """The head's maps, float64, with a ReLU between them; the last one gives logits.

    Of two classes it gives one column, the logit of the second.
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
    # Of two classes, a softmax of (-score, score) is a sigmoid of twice the score.
    return [scores.times(head.inverse_temperature_ * (2 if len(head.classes_) == 2 else 1))]


def _with_all_columns(logits: Affine, labels: np.ndarray, classes: int) -> Affine:
    """One column for two classes in all, otherwise one for each, of which `labels` are known."""
    if classes == 2:
        return logits
    if len(labels) == 2:  # a sigmoid of z is a softmax of (0, z)
        logits = Affine(*(np.concatenate([np.zeros_like(part), part], axis=-1) for part in logits))
    kernel, bias = np.zeros((len(logits.kernel), classes)), np.full(classes, NEVER)
    kernel[:, labels], bias[labels] = logits
    return Affine(kernel, bias)


def _pooling(how: str, row_shape: tuple[int, ...]) -> list[keras.layers.Layer]:
    if len(row_shape) == 1 and how != "flatten":
        return []
    if how == "flatten":
        return [keras.layers.Flatten(name="flatten", dtype="float32")]
    if (how, len(row_shape)) not in POOLING:
        raise HeadError(f"features of shape {row_shape} cannot be pooled by a Keras layer; train with pool=flatten")
    return [POOLING[how, len(row_shape)](name="pool", dtype="float32")]


def _dense(numbers: Affine, activation: str, name: str) -> keras.layers.Dense:
    inputs, outputs = numbers.kernel.shape
    layer = keras.layers.Dense(outputs, activation=activation, name=name, dtype="float32")
    layer.build((None, inputs))
    layer.set_weights([part.astype(np.float32) for part in numbers])
    return layer
