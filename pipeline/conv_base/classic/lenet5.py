"""LeNet-5, as published and as it is mostly taught now.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition", Proceedings
of the IEEE 86 (1998), section II.B and appendix A.

As in the paper, each map of C3 takes some of the six maps of S2, each subsampling has a coefficient and a bias for each
map, the activation is 1.7159 tanh(2x / 3), and the output is the squared distance of F6 from a fixed code of each
class. C5 is a convolution, which is why the model without its top ends with it and takes images of any size.

What differs: the initial kernels are those of Glorot and Bengio (2010); a subsampling multiplies the mean of four
values, not their sum; the codes are random signs, which the paper gives as an alternative to drawings of the
characters; and a softmax of the negative distances follows, so that cross-entropy can be the loss.
"""

from typing import Any

import numpy as np

from pipeline.conv_base.classic.parts import InputShape, finish, image_input
from pipeline.conv_base.keras_setup import Model, import_keras

MIN_SIDE = 32
# Table I: the maps of S2 that each map of C3 takes.
C3_INPUTS = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)
F6_UNITS = 84  # a bitmap of 7x12


def preprocess_input(images: Any) -> Any:
    """Map 0..255 linearly to 1.175..-0.1, so that ink on paper has a mean near 0 and a variance near 1."""
    return 1.175 - images / 200.0


def LeNet5(
    include_top: bool = True,
    weights: str | None = None,
    input_shape: InputShape | None = None,
    classes: int = 10,
    classifier_activation: str | None = "softmax",
    name: str = "lenet5",
    modern: bool = False,
) -> Model:
    """Return LeNet-5: 60,000 parameters for 32x32 grey images, 60,300 for RGB.

    The arguments are those of `keras.applications`; `weights` is the path of a file that `save_weights` wrote, and
    `input_shape` by default (32, 32, 1) with the top, F6 and the output. With `modern`, every map of C3 takes all maps
    of S2, the activation is ReLU, a subsampling is a maximum, and the output is a dense layer (61,706 parameters for
    grey images, 62,006 for RGB). Images smaller than 32x32 raise ValueError.
    """
    inputs = image_input(input_shape, (32, 32, 1), MIN_SIDE, include_top)
    build = _modern if modern else _published
    return finish(inputs, build(inputs, include_top, classes, classifier_activation), name, weights)


def _published(x: Any, include_top: bool, classes: int, classifier_activation: str | None) -> Any:
    keras = import_keras()
    x = _squash(keras.layers.Conv2D(6, 5, name="block1_conv")(x), "block1_tanh")  # C1
    x = _subsample(x, "block1_pool")  # S2
    maps = [
        keras.layers.Conv2D(1, 5, name=f"block2_conv_map{i}")(keras.ops.take(x, taken, axis=-1))
        for i, taken in enumerate(C3_INPUTS)
    ]
    x = _squash(keras.layers.Concatenate(name="block2_conv")(maps), "block2_tanh")  # C3
    x = _subsample(x, "block2_pool")  # S4
    x = _squash(keras.layers.Conv2D(120, 5, name="block3_conv")(x), "block3_tanh")  # C5
    if not include_top:
        return x
    x = keras.layers.Flatten(name="flatten")(x)
    x = _squash(keras.layers.Dense(F6_UNITS, name="fc1")(x), "fc1_tanh")
    distances = keras.ops.sum(keras.ops.square(keras.ops.expand_dims(x, 1) - _codes(classes)), axis=-1)
    return keras.layers.Activation(classifier_activation, name="predictions")(-distances)


def _modern(x: Any, include_top: bool, classes: int, classifier_activation: str | None) -> Any:
    layers = import_keras().layers
    for i, filters in enumerate((6, 16), 1):
        x = layers.Conv2D(filters, 5, activation="relu", name=f"block{i}_conv")(x)
        x = layers.MaxPooling2D(2, name=f"block{i}_pool")(x)
    x = layers.Conv2D(120, 5, activation="relu", name="block3_conv")(x)
    if not include_top:
        return x
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(F6_UNITS, activation="relu", name="fc1")(x)
    return layers.Dense(classes, activation=classifier_activation, name="predictions")(x)


def _squash(x: Any, name: str) -> Any:
    """Apply 1.7159 tanh(2x / 3), which maps -1 and 1 to themselves (appendix A)."""
    keras = import_keras()
    return keras.layers.Rescaling(1.7159, name=name)(keras.ops.tanh(x * (2 / 3)))


def _subsample(x: Any, name: str) -> Any:
    """Halve height and width, with a trainable coefficient and bias for each map."""
    layers = import_keras().layers
    x = layers.AveragePooling2D(2, name=name)(x)
    return _squash(layers.DepthwiseConv2D(1, depthwise_initializer="ones", name=f"{name}_scale")(x), f"{name}_tanh")


def _codes(classes: int) -> np.ndarray:
    """Return a code of 84 signs for each class, (classes, 84) float32, from the raw stream of PCG64."""
    bits = np.random.PCG64(0).random_raw(classes * F6_UNITS) >> np.uint64(63)
    return (2.0 * bits - 1).astype(np.float32).reshape(classes, F6_UNITS)
