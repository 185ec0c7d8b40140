"""`load_conv_base`: a spec in, a frozen model that takes RGB images out."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.conv_base.cuts import cut_of
from pipeline.conv_base.keras_applications import build, find_zoo_model
from pipeline.conv_base.keras_setup import import_keras, one_line, run_isolated
from pipeline.conv_base.precision import disable_tensor_float_32, settle_precision, with_precision
from pipeline.conv_base.random_weights import draw_weights, draw_weights_of_0_1, random_patches
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.conv_base.user_keras_file import load_user_file
from pipeline.conv_base.weights import weights_sha256
from pipeline.conv_base.weights_file import load_weights_file, with_imagenet_rescaling
from pipeline.errors import SpecError
from pipeline.files.durable import sha256_of_file

if TYPE_CHECKING:
    import keras

SHOWN = 30  # layer names in an error


@dataclass(frozen=True, eq=False)
class ConvBase:
    """A frozen conv base, ready to compute features.

    Attributes
    ----------
    spec : ConvBaseSpec
        What was asked for with everything the loading settled: canonical name, cut (None where it
        is the conv base's own output), precision, `weights_sha256`, `conv_base_sha256`.
    model : keras.Model
        RGB images of shape (None, height, width, 3), float32 in 0..255, to features, float32.
        Preprocessing is part of it, no weight is trainable, and normalisations keep to their stored
        statistics. Saved with `model.save`, it loads without this package. It is one layer for the
        model it is put into; `training=True` would wake the dropout some conv bases have.
    feature_shape : tuple of int
        The shape of one image's features, `(4, 4, 512)`.
    sources : dict
        Where it came from, for people and for making it again: `conv_base` (a name or an absolute
        path), `weights` (`imagenet`, `random` or an absolute path), of a path
        `weights_file_sha256`, and `cut` where it was a number of blocks (`top1`).
    """

    spec: ConvBaseSpec
    model: keras.Model
    feature_shape: tuple[int, ...]
    sources: dict[str, str]

    def compute(self, images: np.ndarray) -> np.ndarray:
        """Compute the features of a batch.

        The first batch of each shape is traced, which takes a second or so: call with a fixed
        batch size and pad the last batch rather than shortening it.

        Parameters
        ----------
        images : ndarray of shape (b, height, width, 3), float32
            RGB in 0..255.

        Returns
        -------
        ndarray of shape (b, *feature_shape), float32
        """
        import tensorflow as tf

        return self._forward(tf.constant(images, tf.float32)).numpy()

    def error_against_float32(self, images: np.ndarray) -> float:
        """What computing in `spec.precision` costs: the relative L2 error of `compute(images)`.

        That is |features - exact| / |exact| over the whole batch, where `exact` is what the same
        weights give in float32.
        """
        plain = run_isolated(with_precision, self.model, "float32")
        exact = ConvBase(self.spec, plain, self.feature_shape, self.sources).compute(images)
        return float(np.linalg.norm(self.compute(images) - exact) / max(np.linalg.norm(exact), np.finfo(float).tiny))

    @cached_property
    def _forward(self) -> Callable[..., Any]:
        import tensorflow as tf

        return tf.function(lambda images: self.model(images, training=False), autograph=False, reduce_retracing=False)


def load_conv_base(spec: ConvBaseSpec) -> ConvBase:
    """Make the conv base that a spec describes.

    Keras' global state (dtype policy, seeds, layer names) is neither used nor changed. Only the
    GPU memory, TensorFlow itself and Keras' download cache are shared with the rest of the process.

    Raises
    ------
    SpecError
        Unknown name, argument, layer or preprocessing; a size the model does not take; a file that
        is missing, damaged, hostile or of another architecture. One line says which.
    WeightsUnavailable
        The ImageNet weights cannot be downloaded; the line names the three ways on.
    """
    return run_isolated(_load, spec)


class FullModel(NamedTuple):
    """A model up to its own output, with its weights in float32, and what its spec became."""

    spec: ConvBaseSpec
    model: keras.Model
    own_preprocessing: Callable[..., Any] | None
    sources: dict[str, str]


def load_full_model(spec: ConvBaseSpec) -> FullModel:
    """The model of a spec before it is cut, with `weights_sha256` in its spec; to be called by `run_isolated`."""
    disable_tensor_float_32()
    whole = (_from_file if spec.is_file else _from_zoo)(spec)
    return whole._replace(spec=replace(whole.spec, weights_sha256=weights_sha256(whole.model)))


def _load(spec: ConvBaseSpec) -> ConvBase:
    spec, model, own_preprocessing, sources = load_full_model(spec)
    asked = spec.cut
    if asked is not None and (named := cut_of(model, asked, spec.conv_base)) != asked:
        spec, sources = replace(spec, cut=named), {**sources, "cut": asked}
    base, cut = _cut(model, spec)
    if spec.precision == "auto":
        spec = replace(spec, precision=settle_precision(base, spec.height_width))
    model = _assemble(with_precision(base, spec.precision), spec, own_preprocessing)
    return ConvBase(replace(spec, cut=cut), model, tuple(model.output_shape[1:]), sources)


def _from_file(spec: ConvBaseSpec) -> FullModel:
    model = load_user_file(spec)
    path = Path(spec.conv_base).absolute()
    sha256 = sha256_of_file(path)
    sources = {"conv_base": str(path), "weights": str(path), "weights_file_sha256": sha256}
    return FullModel(replace(spec, conv_base_sha256=sha256), model, None, sources)


def _from_zoo(spec: ConvBaseSpec) -> FullModel:
    zoo_model = find_zoo_model(spec.conv_base)
    spec = replace(spec, conv_base=zoo_model.name)
    sources = {"conv_base": zoo_model.name, "weights": spec.weights}
    if spec.weights == "imagenet":
        model = build(zoo_model, spec, "imagenet")
    elif spec.weights == "random":
        model = build(zoo_model, spec)
        images = _preprocessed(random_patches(spec.height_width), spec.preprocessing, zoo_model.preprocess_input)
        draw_weights(model, images)
        if spec.weights_sha256 not in (None, weights_sha256(model)):
            draw_weights_of_0_1(model)
    else:
        path = Path(spec.weights).absolute()
        if not path.is_file():
            raise SpecError(f"weights {spec.weights!r} are neither imagenet, nor random, nor a file")
        model = build(zoo_model, spec)
        load_weights_file(model, path, zoo_model.name)
        model = with_imagenet_rescaling(model)
        sources |= {"weights": str(path), "weights_file_sha256": sha256_of_file(path)}
    return FullModel(spec, model, zoo_model.preprocess_input, sources)


def _cut(model: keras.Model, spec: ConvBaseSpec) -> tuple[keras.Model, str | None]:
    """The model up to the layer `spec.cut`, and that name unless the layer is the last one anyway."""
    name, conv_base = spec.cut, spec.conv_base
    if name is None:
        return model, None
    keras = import_keras()
    layers = {layer.name: layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)}
    if name not in layers:
        raise SpecError(f"{conv_base} has no layer {name!r} to cut at; it has {_listed(name, list(layers))}")
    # A nested model's own `output` belongs to its inner graph; Operation's is that of its call here.
    output = keras.Operation.output.fget(layers[name])
    if output is model.outputs[0]:
        return model, None
    try:
        return keras.Model(model.inputs[0], output, name=model.name), name
    except (ValueError, AttributeError) as error:
        raise SpecError(f"{conv_base} cannot be cut at {name!r}: {one_line(error)}") from error


def _listed(name: str, names: list[str]) -> str:
    if len(names) <= SHOWN:
        return ", ".join(names)
    close = difflib.get_close_matches(name, names, n=SHOWN, cutoff=0.5)
    shown = (close + [other for other in names if other not in close])[:SHOWN]
    return f"{', '.join(shown)} and {len(names) - len(shown)} more"


def _assemble(base: keras.Model, spec: ConvBaseSpec, own: Callable[..., Any] | None) -> keras.Model:
    keras = import_keras()
    images = keras.Input((*spec.height_width, 3), dtype="float32", name="images")
    try:
        features = base(_preprocessed(images, spec.preprocessing, own))
    except ValueError as error:  # a user's model of any input size that is too small after all
        height, width = spec.height_width
        raise SpecError(f"{spec.conv_base} does not take images of {height}x{width}: {one_line(error)}") from error
    shape = getattr(features, "shape", ())
    if len(shape) < 2 or None in shape[1:]:
        raise SpecError(f"{spec.conv_base} gives features of shape {tuple(shape)}, not a fixed number for each image")
    if features.dtype != "float32":
        features = keras.ops.cast(features, "float32")
    model = keras.Model(images, features, name=base.name if spec.is_file else spec.conv_base)
    model.trainable = False
    return model


def preprocess(spec: ConvBaseSpec, images: np.ndarray) -> np.ndarray:
    """What a conv base's own input is made of images: the preprocessing that `ConvBase.model` has inside.

    Parameters
    ----------
    spec : ConvBaseSpec
    images : ndarray of shape (..., height, width, 3), float32
        RGB in 0..255.

    Returns
    -------
    ndarray of the same shape, float32
    """
    own = None if spec.is_file else find_zoo_model(spec.conv_base).preprocess_input
    return np.asarray(_preprocessed(images.copy(), spec.preprocessing, own))  # Keras works in place


def _preprocessed(images: Any, mode: str, own: Callable[..., Any] | None) -> Any:
    if mode == "own" and own is not None:
        return own(images)
    if mode == "rescale":
        return images / 255.0
    if mode == "none":
        return images
    return import_keras().applications.imagenet_utils.preprocess_input(images, mode=mode)
