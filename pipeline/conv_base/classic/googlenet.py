"""GoogLeNet (Inception v1).

C. Szegedy et al., "Going deeper with convolutions", CVPR 2015, arXiv:1409.4842, table 1.

The two auxiliary classifiers are left out: they serve training only, and the paper finds that they add about 0.5 %. It
gives neither the constants of the normalisation across channels, which here are those of AlexNet, nor the initial
kernels, which here are drawn after He, the first ones as in AlexNet.
"""

from typing import Any

from pipeline.conv_base.classic.parts import (
    InputShape,
    conv,
    finish,
    first_kernels,
    image_input,
    local_response_normalization,
    preprocess_input,  # noqa: F401
)
from pipeline.conv_base.keras_setup import Model, import_keras

MIN_SIDE = 32
# Of each module: 1x1; 3x3 after its reduction; 5x5 after its reduction; the projection after the pooling.
MODULES = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}


def GoogLeNet(
    include_top: bool = True,
    weights: str | None = None,
    input_shape: InputShape | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "googlenet",
) -> Model:
    """Return GoogLeNet without auxiliary classifiers: 6,998,552 parameters.

    The arguments are those of `keras.applications`; `weights` is the path of a file that `save_weights` wrote, and
    `input_shape` by default (224, 224, 3) with the top. Images smaller than 32x32 raise ValueError.
    """
    layers = import_keras().layers
    inputs = image_input(input_shape, (224, 224, 3), MIN_SIDE, include_top)
    x = conv(inputs, 64, 7, "block1_conv", strides=2, padding="same", kernel_initializer=first_kernels())
    x = layers.MaxPooling2D(3, 2, padding="same", name="block1_pool")(x)
    x = local_response_normalization(x, "block1_norm")
    x = conv(x, 64, 1, "block2_reduce")
    x = conv(x, 192, 3, "block2_conv", padding="same")
    x = local_response_normalization(x, "block2_norm")
    x = layers.MaxPooling2D(3, 2, padding="same", name="block2_pool")(x)
    for module in MODULES:
        x = _inception(x, module)
        if module in ("3b", "4e"):
            x = layers.MaxPooling2D(3, 2, padding="same", name=f"inception_{module}_downsampling")(x)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dropout(0.4, name="dropout")(x)
        x = layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    return finish(inputs, x, name, weights)


def _inception(x: Any, module: str) -> Any:
    """Apply an inception module: four ways to see the same input, side by side."""
    layers, name = import_keras().layers, f"inception_{module}"
    n1, (n3_reduced, n3), (n5_reduced, n5), n_projected = MODULES[module]
    reduced3 = conv(x, n3_reduced, 1, f"{name}_3x3_reduce")
    reduced5 = conv(x, n5_reduced, 1, f"{name}_5x5_reduce")
    pooled = layers.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")(x)
    branches = [
        conv(x, n1, 1, f"{name}_1x1"),
        conv(reduced3, n3, 3, f"{name}_3x3", padding="same"),
        conv(reduced5, n5, 5, f"{name}_5x5", padding="same"),
        conv(pooled, n_projected, 1, f"{name}_projection"),
    ]
    return layers.Concatenate(name=name)(branches)
