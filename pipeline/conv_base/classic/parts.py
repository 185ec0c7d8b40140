"""What the classic networks share: their input, their layers that Keras lacks, and their classifier."""

from typing import Any

from pipeline.conv_base.keras_setup import Model, import_keras

InputShape = tuple[int | None, int | None, int]  # height and width, None for any, and channels


def preprocess_input(images: Any) -> Any:
    """Subtract ImageNet's mean colour from images, (..., height, width, 3) in 0..255, and turn RGB into BGR.

    AlexNet, ZFNet and GoogLeNet take pixels less the mean of the training images, without another scale. BGR is the
    order of Caffe, for which their weights are published.
    """
    return import_keras().applications.imagenet_utils.preprocess_input(images, mode="caffe")


def image_input(shape: InputShape | None, default: InputShape, min_side: int, include_top: bool) -> Any:
    """Return the input of a network; without a shape, it is the default with the top and of any size without it.

    ValueError says that the images are smaller than the network takes.
    """
    if shape is None:
        shape = default if include_top else (None, None, default[2])
    if any(side is not None and side < min_side for side in shape[:2]):
        raise ValueError(f"the input must be at least {min_side}x{min_side}, not {shape[0]}x{shape[1]}")
    return import_keras().Input(shape)


def finish(inputs: Any, outputs: Any, name: str, weights: str | None) -> Model:
    """Return the model from inputs to outputs, with the weights of a file that `save_weights` wrote, if given."""
    model = import_keras().Model(inputs, outputs, name=name)
    if weights is not None:
        model.load_weights(weights)
    return model


def conv(x: Any, filters: int, kernel: int, name: str, groups: int = 1, **options: Any) -> Any:
    """Apply a convolution with ReLU; of several groups each sees its own part of the channels.

    The groups are layers of their own: TensorFlow has no gradient of a grouped convolution on a CPU, and the one that
    Keras compiles instead takes ten times as long. Kernels are drawn after He et al. (2015, arXiv:1502.01852), unless
    `kernel_initializer` is given, and biases are 0.
    """
    keras = import_keras()
    options = {"activation": "relu", "kernel_initializer": "he_normal", **options}
    if groups == 1:
        return keras.layers.Conv2D(filters, kernel, name=name, **options)(x)
    parts = [
        keras.layers.Conv2D(filters // groups, kernel, name=f"{name}_group{i}", **options)(part)
        for i, part in enumerate(keras.ops.split(x, groups, axis=-1), 1)
    ]
    return keras.layers.Concatenate(name=name)(parts)


def first_kernels() -> Any:
    """Return the initialiser of a first layer that takes pixels: N(0, 0.01), as Krizhevsky et al. (2012) draw it.

    Kernels of a usual scale would turn pixels in -124..151 into outputs in the hundreds.
    """
    return import_keras().initializers.RandomNormal(stddev=0.01)


def local_response_normalization(
    x: Any, name: str, radius: int = 2, bias: float = 2.0, alpha: float = 1e-4, beta: float = 0.75
) -> Any:
    """Divide each value by `(bias + alpha * s) ** beta`, where s sums the squares of 2 radius + 1 neighbour channels.

    It is `tf.nn.local_response_normalization`; the constants are those of Krizhevsky et al. (2012), section 3.3.
    """
    keras = import_keras()
    channels = x.shape[-1]
    squares = keras.ops.pad(keras.ops.square(x), [[0, 0], [0, 0], [0, 0], [radius, radius]])
    total = squares[..., :channels]
    for i in range(1, 2 * radius + 1):
        total = total + squares[..., i : i + channels]
    # On a CPU, the power as an exponential takes a third of the time, and in int8 half of it.
    factor = keras.ops.exp(-beta * keras.ops.log(bias + alpha * total))
    return keras.layers.Multiply(name=name)([x, factor])


def two_layer_classifier(x: Any, classes: int, activation: str | None) -> Any:
    """Apply the top of AlexNet and ZFNet: two layers of 4,096 units, each with ReLU and half dropped, and a softmax."""
    keras = import_keras()
    x = keras.layers.Flatten(name="flatten")(x)
    for i in (1, 2):
        x = keras.layers.Dense(4096, activation="relu", kernel_initializer="he_normal", name=f"fc{i}")(x)
        x = keras.layers.Dropout(0.5, name=f"dropout{i}")(x)
    return keras.layers.Dense(classes, activation=activation, name="predictions")(x)
