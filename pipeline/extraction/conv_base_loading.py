"""Load the conv base of a store, and measure what its precision costs."""

import contextlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Self

import numpy as np

from pipeline.conv_base import load
from pipeline.conv_base.fingerprint import compare
from pipeline.conv_base.int8 import Int8ConvBase, load_int8
from pipeline.conv_base.joined_conv_base import JoinedConvBase
from pipeline.conv_base.joined_spec import JoinedSpec
from pipeline.conv_base.onnx_conv_base import OnnxConvBase, load_onnx
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.decode_ahead import Task, decode_ahead
from pipeline.extraction.spec_check import check_same_spec
from pipeline.store import StoreLayout
from pipeline.text import COMMAND

MAX_ERROR = 0.05  # Maximum relative L2 error accepted by precision='auto'. That of VGG16 in bfloat16 is 0.007.
COMPARED = 8  # images that are computed in float32 too: a second or so, once in the life of a store

PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "pillow")
OPTIONAL_PACKAGES = {"keras_hub": "keras-hub", "onnxruntime": "onnxruntime"}  # by the name of their module

AnyConvBase = load.FloatConvBase | Int8ConvBase


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that features depend on, and the machine.

    Of the optional packages, those that were imported are in the list.
    """
    used = [package for module, package in OPTIONAL_PACKAGES.items() if module in sys.modules]
    return {**{name: importlib.metadata.version(name) for name in (*PACKAGES, *used)}, "machine": platform.platform()}


@dataclass(frozen=True)
class ConvBaseDescription:
    """What is known of a loaded conv base; unlike it, it can be sent to another process."""

    spec: ConvBaseSpec  # with everything filled in
    feature_shape: tuple[int, ...]  # of one image
    sources: Mapping[str, Any]  # see `ConvBase`
    precision_error: Mapping[str, Any] = field(default_factory=dict)  # see `Manifest.precision_error`
    int8_model: bytes | None = None
    made_with: Mapping[str, str] = field(default_factory=library_versions)

    @classmethod
    def of(cls, conv_base: AnyConvBase, precision_error: Mapping[str, Any] | None = None) -> Self:
        """Describe a conv base."""
        model = conv_base.model if isinstance(conv_base, Int8ConvBase) else None
        return cls(conv_base.spec, conv_base.feature_shape, conv_base.sources, precision_error or {}, model)


def load_with_callbacks(spec: ConvBaseSpec, callbacks: Callbacks) -> load.FloatConvBase:
    """Load the conv base of a spec and report it; see `load_conv_base` for the errors."""
    callbacks.conv_base_loading(spec)
    return load_onnx(spec) if spec.kind == "onnx" else load.load_conv_base(spec)


def load_any_conv_base(store: StoreLayout, callbacks: Callbacks) -> AnyConvBase | JoinedConvBase:
    """Load the conv base that a store was made with, or all of a joined store; see `load_stored_conv_base`."""
    if isinstance(spec := store.spec, JoinedSpec):
        return JoinedConvBase(spec, tuple(load_stored_conv_base(part, callbacks) for part in store.parts))
    return load_stored_conv_base(store, callbacks)


def load_stored_conv_base(store: StoreLayout, callbacks: Callbacks) -> AnyConvBase:
    """Load the conv base that a store was made with; it must not have changed since.

    One in int8 is loaded from the store, one in floats from where it came from.
    """
    is_int8 = store.conv_base_spec.precision == "int8"
    return load_int8_conv_base(store) if is_int8 else load_float_conv_base(store, callbacks)


def load_int8_conv_base(store: StoreLayout) -> Int8ConvBase:
    """Load the quantised conv base of a store whose precision is int8."""
    return load_int8(store.int8_model, store.conv_base_spec, store.feature_shape, store.manifest.sources)


def load_float_conv_base(store: StoreLayout, callbacks: Callbacks) -> load.FloatConvBase:
    """Load the conv base of a store from where it came from; in float32 if the store's precision is int8."""
    stored = store.conv_base_spec
    if stored.precision == "int8":
        stored = replace(stored, precision="float32", int8_sha256=None)
    conv_base = load_with_callbacks(stored, callbacks)
    sources = ", ".join(dict.fromkeys(store.manifest.sources[name] for name in ("conv_base", "weights")))
    remedy = f"put back what {sources} was when {store.directory} was made"
    check_same_spec(compare(stored.identity(), conv_base.spec.identity()), remedy)
    return conv_base


def load_keras_conv_base(store: StoreLayout, callbacks: Callbacks) -> load.ConvBase:
    """Load the conv base of a store as a Keras model, see `load_float_conv_base`; one of ONNX raises SpecError."""
    conv_base = load_float_conv_base(store, callbacks)
    if isinstance(conv_base, OnnxConvBase):
        raise SpecError(
            f"{store.directory} was made with an ONNX model, which a Keras model cannot contain; `{COMMAND} predict` "
            "works with it"
        )
    return conv_base


def measure_precision_error(conv_base: load.ConvBase, tasks: Iterable[Task], workers: int | None) -> dict[str, Any]:
    """Return the `relative_l2` error against float32 and the number of `images` it was measured on.

    These are the first images that can be decoded. The dict is empty if there are none, or if
    the conv base computes in float32.
    """
    spec = conv_base.spec
    if spec.precision == "float32":
        return {}
    decoded = decode_ahead(tasks, spec.decode_image, workers=workers, ahead=COMPARED)
    with contextlib.closing(decoded):
        pixels = list(islice((image.pixels for image in decoded if image.pixels is not None), COMPARED))
    return {"relative_l2": conv_base.error_against_float32(np.stack(pixels)), "images": len(pixels)} if pixels else {}
