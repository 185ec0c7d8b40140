"""ZFNet.

M. D. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, arXiv:1311.2901,
figure 3.

It is AlexNet with a first convolution of 7x7 pixels in steps of 2 instead of 11x11 in steps of 4, a second one in steps
of 2, no groups, and the normalisation after the pooling.

The paper does not say how it pads; here 224x224 images have maps of the published sizes (110, 55, 26, 13, 6). Nor
does it give the constants of the normalisation; here they are those of AlexNet. What differs: all kernels but the
first are drawn after He, not from N(0, 0.01).
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

MIN_SIDE = 53


def ZFNet(
    include_top: bool = True,
    weights: str | None = None,
    input_shape: InputShape | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "zfnet",
) -> Model:
    """Return ZFNet: 62,357,608 parameters.

    The arguments are those of `keras.applications`; `weights` is the path of a file that `save_weights` wrote, and
    `input_shape` by default (224, 224, 3) with the top. Images smaller than 53x53 raise ValueError.
    """
    layers = import_keras().layers
    inputs = image_input(input_shape, (224, 224, 3), MIN_SIDE, include_top)
    x = layers.ZeroPadding2D(1, name="block1_pad")(inputs)
    x = conv(x, 96, 7, "block1_conv", strides=2, kernel_initializer=first_kernels())
    x = layers.MaxPooling2D(3, 2, padding="same", name="block1_pool")(x)
    x = local_response_normalization(x, "block1_norm")
    x = conv(x, 256, 5, "block2_conv", strides=2)
    x = layers.MaxPooling2D(3, 2, padding="same", name="block2_pool")(x)
    x = local_response_normalization(x, "block2_norm")
    x = conv(x, 384, 3, "block3_conv", padding="same")
    x = conv(x, 384, 3, "block4_conv", padding="same")
    x = conv(x, 256, 3, "block5_conv", padding="same")
    x = layers.MaxPooling2D(3, 2, name="block5_pool")(x)
    if include_top:
        x = two_layer_classifier(x, classes, classifier_activation)
    return finish(inputs, x, name, weights)
