"""Draw seeded random weights whose features keep their scale and differ between images."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pipeline.conv_base.keras_setup import Model, all_layers, import_keras
from pipeline.conv_base.weights import set_weights


def draw_weights(model: Model, images: np.ndarray) -> None:
    """Draw every kernel of a model; biases and normalisations keep their initial values.

    The kernels are looks-linear (D. Balduzzi et al., "The shattered gradients problem", 2017):
    channels come in pairs of opposite sign, so that relu(x) - relu(-x) = x reaches the next layer.
    With independent kernels, each ReLU adds the same positive values to the activations of every
    image, and after thirteen layers the features of all images are nearly equal. Each layer is then
    scaled so that its output has a standard deviation near 1 (D. Mishkin and J. Matas, "All you need
    is a good init", 2016). The factor is rounded to a power of two, so that it does not depend on the
    rounding errors of a machine. It does depend on the size and the preprocessing of the images, of shape
    (n, height, width, 3), float32, such as `random_patches` preprocessed.
    """
    _assign_kernels(model, _looks_linear)
    layers = [
        layer for layer in all_layers(model) if not hasattr(layer, "layers") and any(map(_is_kernel, layer.weights))
    ]
    try:
        for layer in layers:
            layer.call = _scaling_call(layer)
        model(images, training=False)
    finally:
        for layer in layers:
            vars(layer).pop("call", None)


def draw_weights_of_0_1(model: Model) -> None:
    """Draw the kernels as version 0.1 did, for the stores that it made: Glorot's uniform distribution (2010)."""
    _assign_kernels(model, _glorot_uniform)


def random_patches(height_width: tuple[int, int]) -> np.ndarray:
    """Return two images of 8x8 patches of random colours, of shape (2, height, width, 3), float32 in 0..255."""
    patches = 255 * _uniform((2, 8, 8, 3), 0)
    rows, columns = (np.arange(side) * 8 // side for side in height_width)
    return patches[:, rows][:, :, columns]


def _assign_kernels(model: Model, draw: Callable[[tuple[int, ...], int, bool], np.ndarray]) -> None:
    conv_2d = import_keras().layers.Conv2D
    full = {id(layer.kernel) for layer in all_layers(model) if isinstance(layer, conv_2d)}

    def draw_next() -> Iterator[tuple[Any, np.ndarray]]:
        for position, variable in enumerate(model.weights):
            if _is_kernel(variable):
                shape = tuple(variable.shape)
                is_depthwise = len(shape) == 4 and shape[-1] == 1 and id(variable) not in full
                yield variable, draw(shape, position, is_depthwise)

    set_weights(model, draw_next())


def _is_kernel(variable: Any) -> bool:
    return len(variable.shape) >= 2


def _looks_linear(shape: tuple[int, ...], position: int, is_depthwise: bool) -> np.ndarray:
    *_, inputs, outputs = shape
    kernel = 2 * _uniform(shape, position) - 1
    if is_depthwise:
        kernel[..., 1::2, :] = kernel[..., : inputs // 2 * 2 : 2, :]  # both channels of a pair have the same kernel
        return kernel
    kernel[..., 1::2] = -kernel[..., : outputs // 2 * 2 : 2]
    if inputs % 2 == 0:  # the output of another layer, not the three colours
        kernel[..., 1::2, :] = -kernel[..., ::2, :]
    return kernel


def _scaling_call(layer: Any) -> Callable[..., Any]:
    """Return a `call` of the layer that first divides its last kernel by the standard deviation of the output."""
    call = layer.call
    kernel = [variable for variable in layer.weights if _is_kernel(variable)][-1]

    def call_scaled(*inputs: Any, **options: Any) -> Any:
        if deviation := float(np.std(call(*inputs, **options))):
            kernel.assign(kernel * 2.0 ** -round(math.log2(deviation)))
        return call(*inputs, **options)

    return call_scaled


def _glorot_uniform(shape: tuple[int, ...], position: int, is_depthwise: bool) -> np.ndarray:
    *window, inputs, outputs = shape
    if is_depthwise:
        inputs = 1
    limit = math.sqrt(6 / (math.prod(window) * (inputs + outputs)))
    return ((2 * _uniform(shape, position, np.float64) - 1) * limit).astype(np.float32)


def _uniform(shape: tuple[int, ...], position: int, dtype: type = np.float32) -> np.ndarray:
    """Return numbers in [0, 1) from the raw stream of PCG64, which no version of Keras or numpy changes."""
    bits = np.random.PCG64([0, position]).random_raw(math.prod(shape))  # uint64
    return ((bits >> np.uint64(11)) * 2.0**-53).astype(dtype).reshape(shape)
