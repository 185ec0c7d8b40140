"""The network that is trained: augmentation, the conv base with its preprocessing, a temporary classifier."""

import math
from typing import Any

import keras

from pipeline.base_training.augmentation_layer import AugmentationLayer, changes_images
from pipeline.conv_base.keras_setup import all_layers
from pipeline.images.augment import Augmentation

MAX_FLAT = 4096  # values of a map that is flattened for the classifier; larger ones are averaged over positions
MOMENTUM = 0.9  # see `build_network`


def build_network(base: Any, classes: int, augmentation: Augmentation, seed: int) -> Any:
    """Put augmentation before a conv base and a classifier behind it; the base is shared, not copied.

    The model maps RGB images in 0..255, (b, height, width, 3), to (b, 1) for two classes, a sigmoid, otherwise to
    (b, classes), a softmax. The stored statistics of normalisations follow those of the batches with a momentum of
    0.9 at most: with the 0.99 or 0.999 of `keras.applications` they lag behind for thousands of steps, more than
    a small data set has before its loss is judged.
    """
    layers = keras.layers
    for layer in all_layers(base):
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = min(layer.momentum, MOMENTUM)
    images = keras.Input(base.input_shape[1:], name="images")
    inputs = AugmentationLayer(augmentation)(images) if changes_images(augmentation) else images
    features = base(inputs)
    flattens = len(features.shape) != 4 or math.prod(features.shape[1:]) <= MAX_FLAT
    pool = layers.Flatten(name="flatten") if flattens else layers.GlobalAveragePooling2D(name="average")
    units, activation = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    initializer = keras.initializers.GlorotUniform(seed)
    classifier = layers.Dense(units, activation=activation, kernel_initializer=initializer, name="probability")
    return keras.Model(images, classifier(pool(features)), name=base.name)
