"""Load a conv base from a local directory with keras-hub: a Keras preset, or a directory of Hugging Face or timm."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.conv_base.directory_files import (
    KERAS_WEIGHTS,
    MORE_PARAMETERS,
    Directory,
    hash_directory,
    read_directory,
    read_rescaling,
)
from pipeline.conv_base.full_model import FullModel
from pipeline.conv_base.keras_setup import Model, import_keras, import_keras_hub, one_line, run_isolated
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError
from pipeline.files.check_untrusted import check_untrusted_hdf5

CLS = "cls"  # the cut that asks for the class token


def load_directory(spec: ConvBaseSpec) -> FullModel:
    """Load the backbone of a directory for images of the spec's size; nothing is downloaded.

    The model of a transformer gives its patches as a map, (b, h, w, c), without class, distillation and register
    tokens; the class token is another end of it. Code and foreign classes are refused, see `read_directory`.
    """
    path = Path(spec.conv_base)
    if spec.conv_base_args or spec.weights != "imagenet":
        raise SpecError(f"{path} contains its weights and takes no arguments: omit --weights and --conv-base-arg")
    directory = read_directory(path)
    if spec.preprocessing == "own":
        read_rescaling(directory)
    import_keras()
    import_keras_hub(path)
    sha256 = hash_directory(path, spec.preprocessing)
    backbone = _load_backbone(directory, spec.height_width)
    model, ends = _split_tokens(backbone, spec)
    source = str(path.absolute())
    sources = {"conv_base": source, "weights": source, "weights_file_sha256": sha256}
    return FullModel(replace(spec, conv_base_sha256=sha256), model, sources, ends)


def _load_backbone(directory: Directory, height_width: tuple[int, int]) -> Model:
    path, (height, width) = directory.path, height_width
    options = {"image_shape": (height, width, 3), "dtype": "float32"}
    try:
        if directory.weights.name == KERAS_WEIGHTS:
            check_untrusted_hdf5(directory.weights)
        parameters = run_isolated(_count_parameters, path, options)
        if parameters > directory.weights.stat().st_size + MORE_PARAMETERS:
            raise SpecError(f"{path} asks for {parameters:,} parameters, far more than {directory.weights.name} holds")
        return _from_preset(path, **options)
    except SpecError:
        raise
    except Exception as error:  # keras-hub and Keras raise errors of any type for what they cannot read
        other = directory.own_size if directory.own_size != height_width else None
        size = f" at {height}x{width} (its own size is {other[0]}x{other[1]}: give --size)" if other else ""
        raise SpecError(f"conv base {path} cannot be loaded{size}: {one_line(error)}") from error


def _from_preset(path: Path, **options: Any) -> Model:
    import keras_hub

    # An absolute path, which is neither the name of a preset of keras-hub nor an address.
    return keras_hub.models.Backbone.from_preset(str(path.absolute()), **options)


def _count_parameters(path: Path, options: dict[str, Any]) -> int:
    """Count the parameters that a config asks for without any memory for them; call it by `run_isolated`."""
    with import_keras().StatelessScope(initialize_variables=False):
        return int(_from_preset(path, load_weights=False, **options).count_params())


def _split_tokens(backbone: Model, spec: ConvBaseSpec) -> tuple[Model, dict[str, Model]]:
    """Return the model that gives a feature map, and its other ends by the cut that asks for them."""
    keras, name = import_keras(), spec.name
    output = backbone.outputs[0]
    if len(backbone.inputs) != 1 or len(backbone.outputs) != 1 or len(output.shape) not in (3, 4):
        raise SpecError(f"conv base {spec.conv_base}, a {type(backbone).__name__}, does not map an image to features")
    if len(output.shape) == 4 and all(type(layer).__module__.startswith("keras.") for layer in backbone.layers):
        # Made of Keras' own layers alone, so that it can be cut at each, and loaded without keras-hub.
        return keras.Model(backbone.inputs[0], output, name=name), {}
    # Layers of keras-hub cannot all be copied one by one, but backbones can.
    images = keras.Input((*spec.height_width, 3), dtype="float32", name="images")
    features = backbone(keras.tree.pack_sequence_as(backbone.input, [images]))
    if len(output.shape) == 4:
        return keras.Model(images, features, name=name), {}
    special, grid = _special_tokens(backbone), _grid(backbone, spec.height_width)
    count, channels = output.shape[1:]
    if count != special + grid[0] * grid[1]:
        raise SpecError(f"conv base {spec.conv_base} takes square images, of a multiple of {backbone.patch_size}")
    patches = keras.layers.Cropping1D((special, 0), name="patch_tokens")(features) if special else features
    feature_map = keras.layers.Reshape((*grid, channels), name="patches")(patches)
    ends = {}
    if special:
        token = keras.layers.Cropping1D((0, count - 1), name="cls_token")(features)
        ends[CLS] = keras.Model(images, keras.layers.Flatten(name=CLS)(token), name=name)
    return keras.Model(images, feature_map, name=name), ends


def _special_tokens(backbone: Model) -> int:
    """Return how many tokens stand before the patches, the first of which is the class token."""
    kind = type(backbone).__name__
    if kind == "DeiTBackbone":
        return 2  # one for distillation
    if kind == "ViTBackbone":
        return int(backbone.use_class_token)
    return 1 + int(backbone.num_register_tokens) if hasattr(backbone, "num_register_tokens") else 0


def _grid(backbone: Model, height_width: tuple[int, int]) -> tuple[int, int]:
    """Return how many patches the output of a transformer has, (rows, columns)."""
    size = backbone.patch_size
    sides = size if isinstance(size, (tuple, list)) else (size, size)
    halvings = len(backbone.depths) - 1 if hasattr(backbone, "depths") else 0  # of Swin
    rows, columns = (n // side >> halvings for n, side in zip(height_width, sides, strict=True))
    return rows, columns
