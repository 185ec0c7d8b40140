"""Load a user's own conv base from a `.keras` file, which is not trusted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.conv_base.full_model import FullModel
from pipeline.conv_base.keras_setup import Model, import_keras, import_keras_hub, one_line
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.conv_base.with_preprocessing import contains_preprocessing
from pipeline.errors import SpecError
from pipeline.files.check_untrusted import check_untrusted_keras
from pipeline.files.durable import sha256_of_file
from pipeline.files.file_structure import needs_keras_hub


def load_user_file(spec: ConvBaseSpec) -> FullModel:
    """Load a `.keras` file in safe mode, after a check of its contents; the model takes images of the spec's size."""
    path = Path(spec.conv_base)
    if spec.conv_base_args or spec.weights != "imagenet":
        raise SpecError(f"{path} contains its weights and takes no arguments: omit --weights and --conv-base-arg")
    if not path.is_file():
        raise SpecError(f"conv base {path} is not a file; give the path of a .keras file")
    keras = import_keras()
    try:
        check_untrusted_keras(path)
        if needs_keras_hub(path):
            import_keras_hub(path)
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises errors of any type for a malformed file
        raise SpecError(f"conv base {path} is refused: {one_line(error)}") from error
    model = _check_shapes(model, path, spec.height_width)
    if contains_preprocessing(model):
        if spec.preprocessing not in ("own", "none"):
            raise SpecError(f"{path} contains its preprocessing: omit --preprocessing {spec.preprocessing}")
    elif spec.preprocessing == "own":
        raise SpecError(
            f"{path} has no preprocessing of its own: give --preprocessing rescale, tf, torch, caffe or none"
        )
    source, sha256 = str(path.absolute()), sha256_of_file(path)
    sources = {"conv_base": source, "weights": source, "weights_file_sha256": sha256}
    return FullModel(replace(spec, conv_base_sha256=sha256), model, sources)


def _check_shapes(model: Any, path: Path, height_width: tuple[int, int]) -> Model:
    """Return the model as a functional model; raise SpecError if it does not map one image to one output."""
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise SpecError(f"conv base {path} has {len(inputs)} inputs and {len(outputs)} outputs, not one of each")
    shape = tuple(inputs[0].shape)
    if len(shape) != 4 or shape[0] is not None or shape[3] != 3 or "float" not in inputs[0].dtype:
        raise SpecError(
            f"conv base {path} takes {shape} of {inputs[0].dtype}, not RGB images (None, h, w, 3) of float32"
        )
    if any(side not in (None, wanted) for side, wanted in zip(shape[1:3], height_width, strict=True)):
        sides = "x".join("any" if side is None else str(side) for side in shape[1:3])
        raise SpecError(f"conv base {path} takes images of {sides}, not {height_width[0]}x{height_width[1]}")
    return import_keras().Model(inputs[0], outputs[0], name=model.name)  # functional also if it was a Sequential
