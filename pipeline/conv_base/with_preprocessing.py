"""Models that contain their preprocessing: how they are made, and how they are recognised."""

from collections.abc import Callable
from typing import Any

from pipeline.conv_base.keras_setup import Model, import_keras
from pipeline.conv_base.weights import set_weights

RGB_INPUT = "rgb_0_to_255"  # the name of the input layer of a model that takes RGB in 0..255


def contains_preprocessing(model: Model) -> bool:
    """Return whether a model preprocesses its images itself, which the name of its input layer says."""
    return bool(model.inputs[0].name == RGB_INPUT)


def with_preprocessing(model: Model, preprocess: Callable[[Any], Any], height_width: tuple[int, int]) -> Model:
    """Return a copy of a functional model that takes RGB in 0..255 of one size and preprocesses it.

    The layers of the copy are on one level, as those of `model`, so that it can be cut at each of them.
    """
    keras = import_keras()
    images = keras.Input((*height_width, 3), dtype="float32", name=RGB_INPUT)
    preprocessed = preprocess(images)

    def call(operation: Any, *inputs: Any, **options: Any) -> Any:
        inputs, options = keras.tree.map_structure(
            lambda value: preprocessed if value is images else value, (inputs, options)
        )
        return operation(*inputs, **options)

    copy = keras.models.clone_model(model, input_tensors=images, call_function=call)
    set_weights(copy, zip(copy.weights, model.weights, strict=True))
    return copy
