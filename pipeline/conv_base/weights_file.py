"""Weights from a file: both formats of Keras, checked weight by weight before one is assigned."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from pipeline.conv_base.keras_setup import import_keras, one_line
from pipeline.conv_base.weights import set_weights
from pipeline.errors import SpecError
from pipeline.files.untrusted import check_untrusted_hdf5

if TYPE_CHECKING:
    import keras

IMAGENET_STD = (0.229, 0.224, 0.225)

Expected = dict[str, tuple[str, Any]]  # where in the file: layer name, variable
Found = dict[str, Any]  # where in the file: dataset


def load_weights_file(model: keras.Model, path: Path, name: str) -> None:
    """Read a weights file without the top into a model of the zoo.

    Both formats of Keras are taken and told apart by their content: `.weights.h5` of Keras 3
    (a dataset at `layers/CLASS_N/vars/M`) and the older `.h5` (layers and weights in the order of
    the attributes `layer_names` and `weight_names`).

    Raises
    ------
    SpecError
        The file is missing, not HDF5, damaged or hostile, or its first weight that does not fit.
    """
    try:
        check_untrusted_hdf5(path)
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)  # a whole model saved as .h5 keeps its weights there
            legacy = any(attribute.startswith("layer_names") for attribute in group.attrs)
            expected, found = (_legacy if legacy else _keras_3)(model, group)
            _refuse_mismatch(expected, found, f"{path} does not fit {name}")
            values = [(variable, found[key][()]) for key, (_, variable) in expected.items()]
    except OSError as error:
        raise SpecError(f"weights file {path} cannot be read: {error.strerror or one_line(error)}") from error
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"weights file {path} is refused: {one_line(error)}") from error
    set_weights(model, values)


def _keras_3(model: keras.Model, file: h5py.Group) -> tuple[Expected, Found]:
    found: Found = {}

    def collect(key: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and key.startswith("layers/") and "/seed_generator/" not in key:
            found[key] = item

    file.visititems(collect)
    return dict(_keras_3_layout(model)), found


def _keras_3_layout(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, tuple[str, Any]]]:
    """Where Keras 3 keeps each weight: by class and number, not by name (`keras.src.saving.saving_lib`)."""
    used: Counter[str] = Counter()
    for layer in model.layers:
        kind = re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        place = f"{prefix}layers/{kind}_{used[kind]}" if used[kind] else f"{prefix}layers/{kind}"
        used[kind] += 1
        if hasattr(layer, "layers"):
            yield from _keras_3_layout(layer, f"{place}/")
        else:
            yield from ((f"{place}/vars/{n}", (layer.name, variable)) for n, variable in enumerate(layer.weights))


def _legacy(model: keras.Model, group: h5py.Group) -> tuple[Expected, Found]:
    layers = [layer for layer in model.layers if layer.weights]
    expected = {
        f"layer {n}, weight {m}": (layer.name, variable)
        for n, layer in enumerate(layers, 1)
        for m, variable in enumerate(layer.trainable_weights + layer.non_trainable_weights, 1)
    }
    stored = [(group[name], _texts(group[name], "weight_names")) for name in _texts(group, "layer_names")]
    found = {
        f"layer {n}, weight {m}": layer[name]
        for n, (layer, names) in enumerate(((layer, names) for layer, names in stored if names), 1)
        for m, name in enumerate(names, 1)
    }
    return expected, found


def _texts(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names, which Keras splits over `attribute0`, `attribute1`, ... where it is long."""
    numbered = (f"{attribute}{n}" for n in count())
    parts = [attribute] if attribute in group.attrs else takewhile(group.attrs.__contains__, numbered)
    texts = [text for part in parts for text in group.attrs[part]]
    return [text.decode() if isinstance(text, bytes) else text for text in texts]


def _refuse_mismatch(expected: Expected, found: Found, refusal: str) -> None:
    for key, (layer, variable) in expected.items():
        dataset = found.get(key)
        if dataset is None or dataset.shape != tuple(variable.shape) or dataset.dtype.kind not in "fiu":
            has = f"nothing at {key}" if dataset is None else f"{dataset.shape} of {dataset.dtype} at {dataset.name}"
            raise SpecError(f"{refusal}: layer {layer} takes {tuple(variable.shape)} of float32, the file has {has}")
    if extra := [dataset for key, dataset in found.items() if key not in expected]:
        raise SpecError(
            f"{refusal}: it holds {len(extra)} weights more, from {extra[0].name} {extra[0].shape} on;"
            " a file without the top (notop) is needed"
        )


def with_imagenet_rescaling(model: keras.Model) -> keras.Model:
    """Add the step that makes EfficientNet's published weights compute what they were trained for.

    Their files hold ImageNet's standard deviation where the Normalization layer takes a variance.
    Keras mends that with a Rescaling layer, but only in a model whose weights it downloads itself
    (tensorflow/tensorflow issues 49930 and 62193); a model with these numbers from a file needs it
    just the same. Any other model is handed back as it is.
    """
    keras = import_keras()
    first = next((layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)), None)
    if first is None or not any(w.shape == (3,) and np.allclose(w.numpy(), IMAGENET_STD) for w in first.weights):
        return model
    rescale = keras.layers.Rescaling([1 / math.sqrt(std) for std in IMAGENET_STD])

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        outputs = layer(*inputs, **options)
        return rescale(outputs) if layer.name == first.name else outputs

    copy = keras.models.clone_model(model, call_function=call)
    set_weights(copy, zip(copy.weights, model.weights, strict=True))
    return copy
