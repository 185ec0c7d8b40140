"""Load the frozen conv base that a spec describes: RGB images in, features out."""

import difflib
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conv_base.cuts import find_cut
from pipeline.conv_base.full_model import FullModel
from pipeline.conv_base.hub_directory import load_directory
from pipeline.conv_base.keras_setup import Model, all_layers, import_keras, one_line, run_isolated
from pipeline.conv_base.onnx_conv_base import OnnxConvBase
from pipeline.conv_base.precision import disable_tensor_float_32, settle_precision, with_precision
from pipeline.conv_base.preprocessing import preprocess
from pipeline.conv_base.random_weights import draw_weights, draw_weights_of_0_1, random_patches
from pipeline.conv_base.spec import WEIGHTS_WORDS, ConvBaseSpec
from pipeline.conv_base.user_keras_file import load_user_file
from pipeline.conv_base.weights import weights_sha256
from pipeline.conv_base.weights_file import load_weights_file, with_imagenet_rescaling
from pipeline.conv_base.with_preprocessing import with_preprocessing
from pipeline.conv_base.zoo import build, find_zoo_model
from pipeline.errors import SpecError
from pipeline.files.durable import sha256_of_file

MAX_NAMES = 30  # layer names in an error message


@dataclass(frozen=True, eq=False)
class ConvBase:
    """A frozen conv base that computes features.

    `model` maps RGB images of shape (b, height, width, 3), float32 in 0..255, to features, float32. It
    contains the preprocessing, and no weight is trainable. As a layer of another model it must be called with
    `training=False`, since some conv bases contain dropout.

    `sources` tells where the conv base was loaded from: `conv_base` and `weights` (a name or an absolute path),
    `weights_file_sha256` if the weights came from a file, and `cut` if it was not given as the layer's name.
    """

    spec: ConvBaseSpec  # with everything filled in; its cut is None where it names the conv base's last layer
    model: Model
    feature_shape: tuple[int, ...]  # of one image, such as (4, 4, 512)
    sources: dict[str, str]

    def compute(self, images: np.ndarray) -> np.ndarray:
        """Compute the features, (b, *feature_shape) float32, of images, (b, height, width, 3) float32 in 0..255.

        TensorFlow traces the model once for each batch size, which takes about a second. Callers
        should pad the last batch instead of shortening it.
        """
        import tensorflow as tf

        return self._forward(tf.constant(images, tf.float32)).numpy()

    def error_against_float32(self, images: np.ndarray) -> float:
        """Return the relative L2 error of `compute(images)` against the features of the same weights in float32.

        It is infinite if features are not finite, as after an overflow in float16.
        """
        in_float32 = run_isolated(with_precision, self.model, "float32")
        exact = replace(self, model=in_float32).compute(images)
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            difference = np.linalg.norm(self.compute(images) - exact)
        error = float(difference / max(np.linalg.norm(exact), np.finfo(float).tiny))
        return error if math.isfinite(error) else math.inf

    @cached_property
    def _forward(self) -> Callable[..., Any]:
        import tensorflow as tf

        return tf.function(lambda images: self.model(images, training=False), autograph=False, reduce_retracing=False)


FloatConvBase = ConvBase | OnnxConvBase


def load_conv_base(spec: ConvBaseSpec) -> ConvBase:
    """Load the conv base that a spec describes, all but ONNX models, see `load_onnx`.

    Keras' global state (dtype policy, seeds, layer names) is neither used nor changed. TensorFloat-32 is off from
    now on, for all models of the process. A setting or a file that does not fit raises SpecError; ImageNet weights
    that do not exist or cannot be downloaded raise WeightsUnavailable.
    """
    return run_isolated(_load, spec)


def load_full_model(spec: ConvBaseSpec) -> FullModel:
    """Load the model of a spec up to its last layer and fill in `weights_sha256`; call it by `run_isolated`."""
    disable_tensor_float_32()
    if spec.kind == "onnx":
        raise SpecError(f"{spec.conv_base} is an ONNX model, which Keras cannot load; give a conv base of Keras")
    full = LOADERS[spec.kind](spec)
    return full._replace(spec=replace(full.spec, weights_sha256=weights_sha256(full.model)))


def load_to_train(spec: ConvBaseSpec, seed: int) -> FullModel:
    """Load the conv base of a spec to be trained; call it by `run_isolated`.

    The model takes RGB images of shape (b, height, width, 3), float32 in 0..255. `weights="random"` are those of
    Keras' initialisers here: the pairs of opposite kernels of `draw_weights` never part where an activation is odd,
    as the tanh of LeNet-5 is. They and the dropout depend on `seed`. All weights are trainable, but pretrained
    normalisations keep their weights and statistics, as in `load_top_layers`. Cut and precision have no effect.
    """
    random.seed(seed)  # from which Keras draws its seeds
    if spec.weights == "random" and spec.kind == "zoo":
        zoo_model = find_zoo_model(spec.conv_base)
        spec = replace(spec, conv_base=zoo_model.name)
        model, sources = build(zoo_model, spec), {"conv_base": zoo_model.name, "weights": "random"}
        spec = replace(spec, weights_sha256=weights_sha256(model))
    else:
        spec, model, sources, _ = load_full_model(spec)
    model = with_preprocessing(model, lambda images: preprocess(images, spec), spec.height_width)
    norm = import_keras().layers.BatchNormalization
    for layer in all_layers(model):
        layer.trainable = spec.weights == "random" or not isinstance(layer, norm)
    return FullModel(spec, model, sources)


def _load(spec: ConvBaseSpec) -> ConvBase:
    full = load_full_model(spec)
    spec, model, sources, _ = full if spec.cut is None else _cut(full, spec.cut)
    if spec.precision == "auto":
        spec = replace(spec, precision=settle_precision(model, spec.height_width))
    model = _add_preprocessing(with_precision(model, spec.precision), spec)
    return ConvBase(spec, model, tuple(model.output_shape[1:]), sources)


def _load_zoo_model(spec: ConvBaseSpec) -> FullModel:
    zoo_model = find_zoo_model(spec.conv_base)
    spec, path = replace(spec, conv_base=zoo_model.name), Path(spec.weights).absolute()
    if spec.weights not in WEIGHTS_WORDS and not path.is_file():
        raise SpecError(f"weights {spec.weights!r} are neither imagenet, nor random, nor a file")
    sources = {"conv_base": zoo_model.name, "weights": spec.weights}
    model = build(zoo_model, spec, "imagenet" if spec.weights == "imagenet" else None)
    if spec.weights == "random":
        draw_weights(model, preprocess(random_patches(spec.height_width), spec))
        if spec.weights_sha256 not in (None, weights_sha256(model)):  # of a store of version 0.1, perhaps
            draw_weights_of_0_1(model)
    elif spec.weights != "imagenet":
        load_weights_file(model, path, zoo_model.name)
        model = with_imagenet_rescaling(model)
        sources |= {"weights": str(path), "weights_file_sha256": sha256_of_file(path)}
    return FullModel(spec, model, sources)


def _cut(full: FullModel, cut: str) -> FullModel:
    """Return the model up to the layer that `cut` means; the spec has no cut if that is the model's last layer."""
    spec, model, sources, ends = full
    if cut in ends:
        return full._replace(model=ends[cut])
    name = find_cut(model, cut, spec.conv_base)
    keras = import_keras()
    layers = {layer.name: layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)}
    if name not in layers:
        names = _closest_names(name, list(layers))
        raise SpecError(f"{spec.conv_base} has no layer {name!r} to cut at; it has {names}")
    # `layers[name].output` of a nested model is a tensor of its inner graph; Operation.output is its output here.
    output = keras.Operation.output.fget(layers[name])
    if output is model.outputs[0]:
        return full._replace(spec=replace(spec, cut=None))
    try:
        model = keras.Model(model.inputs[0], output, name=model.name)
    except (ValueError, AttributeError) as error:
        raise SpecError(f"{spec.conv_base} cannot be cut at {name!r}: {one_line(error)}") from error
    return FullModel(replace(spec, cut=name), model, sources if name == cut else {**sources, "cut": cut})


def _closest_names(name: str, names: list[str]) -> str:
    if len(names) <= MAX_NAMES:
        return ", ".join(names)
    close = difflib.get_close_matches(name, names, n=MAX_NAMES, cutoff=0.5)
    shown = (close + [other for other in names if other not in close])[:MAX_NAMES]
    return f"{', '.join(shown)} and {len(names) - len(shown)} more"


def _add_preprocessing(base: Model, spec: ConvBaseSpec) -> Model:
    keras = import_keras()
    images = keras.Input((*spec.height_width, 3), dtype="float32", name="images")
    try:
        features = base(preprocess(images, spec))
    except ValueError as error:  # a user's model that takes any size, but not one as small as this
        height, width = spec.height_width
        raise SpecError(f"{spec.conv_base} does not take images of {height}x{width}: {one_line(error)}") from error
    shape = getattr(features, "shape", ())
    if len(shape) < 2 or None in shape[1:]:
        raise SpecError(f"{spec.conv_base} gives features of shape {tuple(shape)}, not a fixed number for each image")
    if features.dtype != "float32":
        features = keras.ops.cast(features, "float32")
    model = keras.Model(images, features, name=base.name if spec.is_path else spec.conv_base)
    model.trainable = False
    return model


LOADERS: Mapping[str, Callable[[ConvBaseSpec], FullModel]] = {  # by kind
    "zoo": _load_zoo_model,
    "file": load_user_file,
    "directory": load_directory,
}
