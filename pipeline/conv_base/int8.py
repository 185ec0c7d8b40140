"""`Int8ConvBase`: a conv base quantised to 8-bit integers, which LiteRT runs without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from pipeline.conv_base.keras_setup import one_line
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError
from pipeline.files.check_untrusted import check_in_child
from pipeline.files.cores import available_cores
from pipeline.files.durable import sha256_of
from pipeline.files.native_stderr import native_stderr_hidden

MIN_SECONDS = 0.5  # of a measurement of speed
MAX_BYTES = 2**31  # of a model; the format has offsets of 32 bits


@dataclass(frozen=True, eq=False)
class Int8ConvBase:
    """A frozen conv base that computes features in 8-bit integers.

    Several threads may call `compute` at the same time. Each call takes an interpreter that no other call uses, which
    uses one core and takes one image at a time: one interpreter on all cores is no faster, as `make bench` measures.
    The features of an image depend on no other image, nor on the number of threads.
    """

    spec: ConvBaseSpec  # with everything filled in
    feature_shape: tuple[int, ...]  # of one image, such as (4, 4, 512)
    sources: Mapping[str, Any]  # see `ConvBase`
    model: bytes  # of TensorFlow Lite
    _idle: list[Interpreter] = field(default_factory=list, repr=False)  # interpreters that no call uses

    def compute(self, images: np.ndarray) -> np.ndarray:
        """Compute the features, (b, *feature_shape) float32, of images, (b, height, width, 3) float32 in 0..255."""
        try:
            interpreter = self._idle.pop()
        except IndexError:
            interpreter = Interpreter(self.model)
        features = np.concatenate([interpreter.run(image[None]) for image in images])
        self._idle.append(interpreter)
        return features

    def images_per_second(self, image: np.ndarray) -> float:
        """Measure the speed on all cores with one image, (height, width, 3) float32, again and again."""
        cores = available_cores()
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(self.compute, [image[None]] * cores * 2))  # makes the interpreters
            rounds, start = 0, perf_counter()
            while (seconds := perf_counter() - start) < MIN_SECONDS:
                list(pool.map(self.compute, [image[None]] * cores * 4))
                rounds += 1
        return rounds * cores * 4 / seconds


class Interpreter:
    """Runs a model of TensorFlow Lite with one input and one output."""

    def __init__(self, model: bytes, threads: int = 1, batch: int = 1):
        from ai_edge_litert.interpreter import Interpreter as LiteRTInterpreter

        with native_stderr_hidden():  # it announces its delegate
            self._interpreter = LiteRTInterpreter(model_content=model, num_threads=threads)
            (image,), (features,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
            self._input, self._output = image["index"], features["index"]
            self.shapes = _shape(image), _shape(features)  # of input and output, None for any number
            self._allocate((batch, *(side or 1 for side in self.shapes[0][1:])))

    def _allocate(self, input_shape: tuple[int, ...]) -> None:
        self._interpreter.resize_tensor_input(self._input, input_shape, strict=True)
        self._interpreter.allocate_tensors()
        self.input_shape = input_shape

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the output for an input, both (batch, ...) float32; another shape than the last one costs time."""
        if images.shape != self.input_shape:
            self._allocate(images.shape)
        self._interpreter.set_tensor(self._input, images)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


def _shape(tensor: Mapping[str, Any]) -> tuple[int | None, ...]:
    return tuple(None if side < 0 else side for side in tensor["shape_signature"].tolist())


def load_int8(
    path: Path, spec: ConvBaseSpec, feature_shape: tuple[int, ...], sources: Mapping[str, Any]
) -> Int8ConvBase:
    """Load the quantised conv base of a store; SpecError says that it is not what `spec.int8_sha256` describes."""
    remedy = "restore it from a copy of the store, or start over with --rebuild"
    try:
        model = read_model(path, spec)
    except ValueError as error:
        raise SpecError(f"{path}, the int8 conv base, {error}; {remedy}") from None
    conv_base = Int8ConvBase(spec, feature_shape, sources, model)
    try:
        check_in_child(check_int8_model, path)  # the store may be someone else's
        _try_once(conv_base)
    except ValueError as error:
        raise SpecError(f"{path}, the int8 conv base, cannot be used: {one_line(error)}") from None
    return conv_base


def read_model(path: Path, spec: ConvBaseSpec) -> bytes:
    """Read the file of a quantised conv base; ValueError says that it is not what `spec.int8_sha256` describes."""
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MAX_BYTES:
            raise ValueError(f"is no model of TensorFlow Lite ({size} bytes)")
        model = path.read_bytes()
    except FileNotFoundError:
        raise ValueError("is missing") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if sha256_of(model) != spec.int8_sha256:
        raise ValueError("is not what was written (its sha256 differs)")
    return model


def check_int8_model(path: Path) -> None:
    """Run the model of a file once; call it by `check_in_child`."""
    interpreter = Interpreter(path.read_bytes())
    interpreter.run(np.zeros(interpreter.input_shape, np.float32))


def make_int8(
    spec: ConvBaseSpec, feature_shape: tuple[int, ...], sources: Mapping[str, Any], model: bytes
) -> Int8ConvBase:
    """Return a conv base that was just quantised; SpecError says that LiteRT cannot run it."""
    conv_base = Int8ConvBase(spec, feature_shape, sources, model)
    try:
        _try_once(conv_base)
    except ValueError as error:
        raise SpecError(f"{spec.conv_base} cannot be computed in int8: {one_line(error)}") from None
    return conv_base


def _try_once(conv_base: Int8ConvBase) -> None:
    """Raise ValueError if the model does not run, or gives features of another shape."""
    try:
        features = conv_base.compute(np.zeros((1, *conv_base.spec.height_width, 3), np.float32))
    except RuntimeError as error:  # of LiteRT
        raise ValueError(one_line(error)) from None
    if features.shape[1:] != conv_base.feature_shape or features.dtype != np.float32:
        raise ValueError(f"it gives features {features.shape[1:]} {features.dtype}, not {conv_base.feature_shape}")
