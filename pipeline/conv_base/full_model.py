"""`FullModel`: what a loader of a kind of conv base returns."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from pipeline.conv_base.keras_setup import Model
from pipeline.conv_base.spec import ConvBaseSpec


class FullModel(NamedTuple):
    """A conv base before it is cut, with float32 weights, without preprocessing."""

    spec: ConvBaseSpec
    model: Model
    sources: dict[str, str]  # see `ConvBase`
    ends: Mapping[str, Model] = MappingProxyType({})  # models of the same layers that end elsewhere, by their cut
