"""Load the conv base of a store, and measure what its precision costs."""

import contextlib
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from pipeline.conv_base import load
from pipeline.conv_base.fingerprint import compare
from pipeline.conv_base.int8 import Int8ConvBase, load_int8
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.decode_ahead import decode_ahead, list_tasks
from pipeline.extraction.plan import ExtractionPlan
from pipeline.extraction.spec_check import check_same_spec
from pipeline.store import FeatureStore

MAX_ERROR = 0.05  # Maximum relative L2 error accepted by precision='auto'. That of VGG16 in bfloat16 is 0.007.
COMPARED = 8  # images that are computed in float32 too: a second or so, once in the life of a store

AnyConvBase = load.ConvBase | Int8ConvBase


def load_with_callbacks(spec: ConvBaseSpec, callbacks: Callbacks) -> load.ConvBase:
    """Load the conv base of a spec and report it; see `load_conv_base` for the errors."""
    callbacks.conv_base_loading(spec)
    return load.load_conv_base(spec)


def load_stored_conv_base(store: FeatureStore, callbacks: Callbacks) -> AnyConvBase:
    """Load the conv base that a store was made with; it must not have changed since.

    One in int8 is loaded from the store, one in floats from where it came from.
    """
    if store.spec.precision == "int8":
        return load_int8(store.int8_model, store.spec, store.feature_shape, store.manifest.sources)
    return load_float_conv_base(store, callbacks)


def load_float_conv_base(store: FeatureStore, callbacks: Callbacks) -> load.ConvBase:
    """Load the conv base of a store from where it came from; in float32 if the store's precision is int8."""
    stored = store.spec
    if stored.precision == "int8":
        stored = replace(stored, precision="float32", int8_sha256=None)
    conv_base = load_with_callbacks(stored, callbacks)
    sources = ", ".join(dict.fromkeys(store.manifest.sources[name] for name in ("conv_base", "weights")))
    remedy = f"put back what {sources} was when {store.directory} was made"
    check_same_spec(compare(stored.identity(), conv_base.spec.identity()), remedy)
    return conv_base


def measure_precision_error(conv_base: load.ConvBase, plan: ExtractionPlan, workers: int | None) -> dict[str, Any]:
    """Return the `relative_l2` error against float32 and the number of `images` it was measured on.

    These are the first images of a plan that can be decoded. The dict is empty if there are none, or if
    the conv base computes in float32.
    """
    spec = conv_base.spec
    if spec.precision == "float32":
        return {}
    tasks = list_tasks(plan.index, plan.pending)
    decoded = decode_ahead(tasks, spec.decode_image, workers=workers, ahead=COMPARED)
    with contextlib.closing(decoded):
        pixels = list(islice((image.pixels for image in decoded if image.pixels is not None), COMPARED))
    return {"relative_l2": conv_base.error_against_float32(np.stack(pixels)), "images": len(pixels)} if pixels else {}
