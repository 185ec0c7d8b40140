"""AlexNet.

A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet classification with deep convolutional neural networks", NeurIPS
2012.

As in the paper, the second, fourth and fifth convolution have two groups, since two GPUs shared the work, and the first
two are followed by a normalisation across channels and an overlapping maximum pooling.

What differs: images are 227x227, with which the maps have the published sizes (the paper says 224). All biases
start at 0, not some at 1, and all kernels but the first are drawn after He, not from N(0, 0.01), so that the network
also trains on few images.
"""

from pipeline.conv_base.classic.parts import (
    InputShape,
    conv,
    finish,
    first_kernels,
    image_input,
    local_response_normalization,
    preprocess_input,  # noqa: F401
    two_layer_classifier,
)
from pipeline.conv_base.keras_setup import Model, import_keras

MIN_SIDE = 67


def AlexNet(
    include_top: bool = True,
    weights: str | None = None,
    input_shape: InputShape | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "alexnet",
    groups: int = 2,
) -> Model:
    """Return AlexNet: 60,965,224 parameters, or 62,378,344 with one group, the form for a single GPU.

    The arguments are those of `keras.applications`; `weights` is the path of a file that `save_weights` wrote, and
    `input_shape` by default (227, 227, 3) with the top. Images smaller than 67x67, and a number of groups other than 1
    or 2, raise ValueError.
    """
    if groups not in (1, 2):
        raise ValueError(f"groups are 1 or 2, not {groups}")
    layers = import_keras().layers
    inputs = image_input(input_shape, (227, 227, 3), MIN_SIDE, include_top)
    x = conv(inputs, 96, 11, "block1_conv", strides=4, kernel_initializer=first_kernels())
    x = local_response_normalization(x, "block1_norm")
    x = layers.MaxPooling2D(3, 2, name="block1_pool")(x)
    x = conv(x, 256, 5, "block2_conv", groups, padding="same")
    x = local_response_normalization(x, "block2_norm")
    x = layers.MaxPooling2D(3, 2, name="block2_pool")(x)
    x = conv(x, 384, 3, "block3_conv", padding="same")
    x = conv(x, 384, 3, "block4_conv", groups, padding="same")
    x = conv(x, 256, 3, "block5_conv", groups, padding="same")
    x = layers.MaxPooling2D(3, 2, name="block5_pool")(x)
    if include_top:
        x = two_layer_classifier(x, classes, classifier_activation)
    return finish(inputs, x, name, weights)
