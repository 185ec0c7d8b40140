"""`OnnxConvBase`: a conv base from an `.onnx` file, which onnxruntime computes."""

import contextlib
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.conv_base.keras_setup import one_line
from pipeline.conv_base.onnx_check import check_onnx_model, make_session, subgraphs
from pipeline.conv_base.preprocessing import preprocess_array
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError
from pipeline.files.check_untrusted import check_in_child
from pipeline.files.cores import available_cores
from pipeline.files.durable import sha256_of

MAX_BYTES = 2**31 - 1  # of a file; the format has lengths of 31 bits
MAX_NAMES = 12  # tensor names in an error message
MAX_VALUES = 2**26  # of the features of an image
BYTES_PER_PIXEL = 2**13  # of memory that the check may take for two images


class Input(NamedTuple):
    """The input of a model."""

    name: str
    channels_first: bool
    is_single: bool  # whether it takes one image at a time


@dataclass(frozen=True, eq=False)
class OnnxConvBase:
    """A frozen conv base that onnxruntime computes in float32.

    A feature map of a model with channels first is turned to channels last.
    """

    spec: ConvBaseSpec  # with everything filled in; its cut is None where it names the model's last output
    feature_shape: tuple[int, ...]  # of one image, such as (7, 7, 512)
    sources: Mapping[str, Any]  # see `ConvBase`
    session: Any  # an onnxruntime.InferenceSession with one output
    input: Input

    def compute(self, images: np.ndarray) -> np.ndarray:
        """Compute the features, (b, *feature_shape) float32, of images, (b, height, width, 3) float32 in 0..255."""
        return _run(self.session, self.input, preprocess_array(images, self.spec))


def load_onnx(spec: ConvBaseSpec) -> OnnxConvBase:
    """Load the conv base of an `.onnx` file up to the tensor that the spec's cut names, after a check of the file.

    A setting or a file that does not fit raises SpecError.
    """
    path = Path(spec.conv_base)
    _check_settings(spec, path)
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise SpecError(f"{path} needs packages that are missing: pip install -e '.[onnx]' ({error})") from None
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"it has {size:,} bytes, more than the format allows")
        height, width = spec.height_width
        memory = 2**31 + 6 * size + BYTES_PER_PIXEL * height * width
        check_in_child(check_forward, path, spec.conv_base, height, width, spec.cut, max_memory=memory)
        data = path.read_bytes()
        session, image_input, cut = _open(data, spec, available_cores())
        shape = _feature_shape(session, image_input, spec)
    except SpecError:
        raise
    except Exception as error:  # onnx and onnxruntime raise errors of any type for a malformed file
        raise SpecError(f"conv base {path} is refused: {one_line(error)}") from error
    source, sha256 = str(path.absolute()), sha256_of(data)
    sources = {"conv_base": source, "weights": source, "weights_file_sha256": sha256}
    # The weights are part of the file, some of them perhaps as constants of the graph.
    resolved = replace(spec, cut=cut, precision="float32", conv_base_sha256=sha256, weights_sha256=sha256)
    return OnnxConvBase(resolved, shape, sources, session, image_input)


def check_forward(path: Path, conv_base: str, height: int, width: int, cut: str | None) -> None:
    """Check a model, and that it computes the features of two images; `check_in_child` runs this.

    ValueError tells what is wrong. A size or a cut that does not fit is no error here, but for the caller.
    """
    check_onnx_model(path)
    spec = ConvBaseSpec(conv_base, size=(height, width), cut=cut, preprocessing="none")
    with contextlib.suppress(SpecError):
        session, image_input, _ = _open(path.read_bytes(), spec, threads=1)
        _feature_shape(session, image_input, spec)


def _open(data: bytes, spec: ConvBaseSpec, threads: int) -> tuple[Any, Input, str | None]:
    """Return a session that computes the features, its input, and the cut, None for the last output."""
    import onnx

    model = onnx.load_model_from_string(data)
    image_input = _find_input(model.graph, spec)
    cut = _cut(model.graph, spec.cut, Path(spec.conv_base))
    return make_session(model.SerializeToString(), threads), image_input, cut


def _check_settings(spec: ConvBaseSpec, path: Path) -> None:
    if spec.preprocessing == "own":
        raise SpecError(
            f"{path} has no preprocessing of its own: give --preprocessing rescale, tf, torch, caffe or none"
        )
    if spec.conv_base_args or spec.weights != "imagenet":
        raise SpecError(f"{path} contains its weights and takes no arguments: omit --weights and --conv-base-arg")
    if not path.is_file():
        raise SpecError(f"conv base {path} is not a file; give the path of an .onnx file")


def _find_input(graph: Any, spec: ConvBaseSpec) -> Input:
    """Find the input for images; its shape tells where the channels are and how many images it takes."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise ValueError(f"it has {len(inputs)} inputs, not one for images")
    tensor = inputs[0].type.tensor_type
    sides = [side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim]
    shown = "x".join("any" if side is None else str(side) for side in sides)
    if tensor.elem_type != 1 or len(sides) != 4 or 3 not in (sides[1], sides[3]):
        raise ValueError(f"its input {inputs[0].name} ({shown}) is not for RGB images of float32, 3 at place 2 or 4")
    channels_first = sides[1] == 3
    if sides[0] not in (None, 1):
        raise ValueError(f"it takes {sides[0]} images at a time; export it with any number of images, or one")
    height_width = sides[2:] if channels_first else sides[1:3]
    if any(side not in (None, wanted) for side, wanted in zip(height_width, spec.height_width, strict=True)):
        taken, asked = ("x".join(map(str, pair)).replace("None", "any") for pair in (height_width, spec.height_width))
        raise SpecError(f"conv base {spec.conv_base} takes images of {taken}, not {asked}: give --size {taken}")
    return Input(inputs[0].name, channels_first, sides[0] == 1)


def _cut(graph: Any, cut: str | None, path: Path) -> str | None:
    """Make one tensor the only output, and drop what it does not need; return the cut, None for the last output."""
    import onnx

    outputs = {value.name: value for value in graph.output}
    if not outputs:
        raise ValueError("it has no output")
    last = list(outputs)[-1]
    name = cut or last
    names = [tensor for node in graph.node for tensor in node.output if tensor]
    if name not in names:
        close = difflib.get_close_matches(name, names, n=MAX_NAMES, cutoff=0.5)
        listed = list(dict.fromkeys([*close, *outputs, *reversed(names)]))[:MAX_NAMES]
        raise SpecError(f"{path} has no tensor {name!r} to cut at; among its {len(names)} are {', '.join(listed)}")
    del graph.output[:]
    graph.output.append(outputs.get(name) or onnx.helper.make_empty_tensor_value_info(name))
    needed, kept = {name}, []
    for node in reversed(graph.node):  # in the order of computing
        if needed.intersection(node.output):
            kept.append(node)
            needed |= _names_used(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    return None if name == last else name


def _names_used(node: Any) -> set[str]:
    """Return the tensors that a node takes, also inside its graphs."""
    inner = (node for graph in subgraphs(node) for node in graph.node)
    outputs = (value.name for graph in subgraphs(node) for value in graph.output)
    return set(node.input).union(outputs, *map(_names_used, inner))


def _feature_shape(session: Any, image_input: Input, spec: ConvBaseSpec) -> tuple[int, ...]:
    """Compute two images, and return the shape of the features of one."""
    features = _run(session, image_input, np.zeros((2, *spec.height_width, 3), np.float32))
    shape = features.shape[1:]
    if features.dtype != np.float32 or len(features) != 2 or not shape or not 0 < math.prod(shape) <= MAX_VALUES:
        raise ValueError(
            f"for two images it gives an array {features.shape} of {features.dtype}, not float32 features of each; "
            "give --cut with the name of a tensor that has them"
        )
    return shape


def _run(session: Any, image_input: Input, images: np.ndarray) -> np.ndarray:
    """Compute the features of preprocessed images, (b, height, width, 3) float32."""
    if image_input.channels_first:
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))  # (b, 3, height, width)
    batches = [image[None] for image in images] if image_input.is_single else [images]
    features = np.concatenate([session.run(None, {image_input.name: batch})[0] for batch in batches])
    is_map = image_input.channels_first and features.ndim == 4
    return np.ascontiguousarray(features.transpose(0, 2, 3, 1)) if is_map else features
