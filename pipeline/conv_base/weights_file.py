"""Read a weights file in either format of Keras, after a check of every weight against the model."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.conv_base.keras_setup import Model, import_keras, one_line
from pipeline.conv_base.weights import set_weights
from pipeline.errors import SpecError
from pipeline.files.check_untrusted import check_untrusted_hdf5

IMAGENET_STD = (0.229, 0.224, 0.225)

# Both by the position of a weight in the file.
Variables = dict[str, tuple[str, Any]]  # the name of the layer and the variable that the model expects there
Datasets = dict[str, Any]  # the HDF5 dataset that the file has there


def load_weights_file(model: Model, path: Path, name: str) -> None:
    """Read a weights file without the top into a model of the zoo.

    The format is recognised by the file's content: `.weights.h5` of Keras 3 has a dataset `layers/CLASS_N/vars/M` for
    each weight; the older `.h5` lists layers and weights in the attributes `layer_names` and `weight_names`. Keras'
    own `load_weights` goes by the name, ignores surplus weights in the first format, and names no layer for a
    mismatch in the second. Here, the SpecError names the first weight that does not fit.
    """
    try:
        check_untrusted_hdf5(path)
        with h5py.File(path, "r", locking=False) as file:
            group = file.get("model_weights", file)  # where a whole model in the older format has its weights
            is_legacy = any(attribute.startswith("layer_names") for attribute in group.attrs)
            variables, datasets = (_read_legacy if is_legacy else _read_keras_3)(model, group)
            _check_fit(variables, datasets, f"{path} does not fit {name}")
            values = [(variable, datasets[position][()]) for position, (_, variable) in variables.items()]
    except OSError as error:
        raise SpecError(f"weights file {path} cannot be read: {error.strerror or one_line(error)}") from error
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"weights file {path} is refused: {one_line(error)}") from error
    set_weights(model, values)


def _read_keras_3(model: Model, file: h5py.Group) -> tuple[Variables, Datasets]:
    datasets: Datasets = {}

    def collect(position: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and position.startswith("layers/") and "/seed_generator/" not in position:
            datasets[position] = item

    file.visititems(collect)
    return dict(_keras_3_positions(model)), datasets


def _keras_3_positions(model: Model, prefix: str = "") -> Iterator[tuple[str, tuple[str, Any]]]:
    """Yield the position of each weight, which has the layer's class and number (`keras.src.saving.saving_lib`)."""
    layers_of_class: Counter[str] = Counter()
    for layer in model.layers:
        name = re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        number = layers_of_class[name]
        layers_of_class[name] += 1
        group = f"{prefix}layers/{name}_{number}" if number else f"{prefix}layers/{name}"
        if hasattr(layer, "layers"):
            yield from _keras_3_positions(layer, f"{group}/")
        else:
            yield from ((f"{group}/vars/{i}", (layer.name, variable)) for i, variable in enumerate(layer.weights))


def _read_legacy(model: Model, group: h5py.Group) -> tuple[Variables, Datasets]:
    variables = {
        f"layer {i}, weight {j}": (layer.name, variable)
        for i, layer in enumerate((layer for layer in model.layers if layer.weights), 1)
        for j, variable in enumerate(layer.trainable_weights + layer.non_trainable_weights, 1)
    }
    layers = [(group[name], _read_names(group[name], "weight_names")) for name in _read_names(group, "layer_names")]
    datasets = {
        f"layer {i}, weight {j}": layer[name]
        for i, (layer, names) in enumerate(((layer, names) for layer, names in layers if names), 1)
        for j, name in enumerate(names, 1)
    }
    return variables, datasets


def _read_names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names, which Keras splits over `attribute0`, `attribute1`, ... if it is long."""
    numbered = (f"{attribute}{i}" for i in count())
    parts = [attribute] if attribute in group.attrs else takewhile(group.attrs.__contains__, numbered)
    names = [name for part in parts for name in group.attrs[part]]
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def _check_fit(variables: Variables, datasets: Datasets, problem: str) -> None:
    for position, (layer, variable) in variables.items():
        dataset = datasets.get(position)
        if dataset is None:
            content = f"nothing at {position}"
        elif dataset.shape != tuple(variable.shape) or dataset.dtype.kind not in "fiu":
            content = f"{dataset.shape} of {dataset.dtype} at {dataset.name}"
        else:
            continue
        raise SpecError(f"{problem}: layer {layer} takes {tuple(variable.shape)} of float32, the file has {content}")
    if surplus := [dataset for position, dataset in datasets.items() if position not in variables]:
        raise SpecError(
            f"{problem}: it holds {len(surplus)} weights more, from {surplus[0].name} {surplus[0].shape} on;"
            " give a file without the top (notop)"
        )


def with_imagenet_rescaling(model: Model) -> Model:
    """Return a model with the rescaling that EfficientNet's published weights need, or the model itself.

    The weights hold ImageNet's standard deviation where the Normalization layer takes a variance.
    Keras corrects this with a Rescaling layer, but only in a model whose weights it downloads itself
    (tensorflow/tensorflow issues 49930 and 62193).
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
