"""Change each field of the spec alone: the error must name the field, and the store must not change."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

from pipeline import StoreMismatch, extract_features
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.images.augment import View

from . import children, stand_ins
from .oracle import BATCH, Sample
from .results import Result
from .stand_ins import SIDE

Change = Callable[[ConvBaseSpec, Path], ConvBaseSpec]


def _asking(**changed: Any) -> Change:
    return lambda spec, work: replace(spec, **changed)


def _editing(file: str) -> Change:
    def change(spec: ConvBaseSpec, work: Path) -> ConvBaseSpec:
        (work / file).write_text("abd")
        return spec

    return change


def _another_decoder(spec: ConvBaseSpec, work: Path) -> ConvBaseSpec:
    mock.patch("pipeline.extraction.extract.DECODER", "another-1").start()
    return spec


# For each field: how it is changed, and the field that the error must name.
CHANGES: dict[str, tuple[Change, str]] = {
    "conv_base": (_asking(conv_base="vgg19"), "conv_base"),
    "conv_base_args": (_asking(conv_base_args={"alpha": 0.5}), "conv_base_args"),
    "weights": (_asking(weights="imagenet"), "weights_sha256"),
    "size": (_asking(size=(SIDE, SIDE + 2)), "size"),
    "cut": (_asking(cut="inner"), "cut"),
    "preprocessing": (_asking(preprocessing="rescale"), "preprocessing"),
    "resize": (_asking(resize="antialias"), "resize"),
    "decode": (_asking(decode="scaled"), "decode"),
    "precision": (_asking(precision="bfloat16"), "precision"),
    "store_dtype": (_asking(store_dtype="float16"), "store_dtype"),
    "view": (_asking(view=View(1)), "view"),
    "decoder": (_another_decoder, "decoder"),
    "conv_base_sha256": (_editing("base.keras"), "conv_base_sha256"),
    "weights_sha256": (_editing("weights.h5"), "weights_sha256"),
    "int8_sha256": (_asking(int8_sha256="3" * 64), "int8_sha256"),
}


def change_every_field(sample: Sample, work: Path) -> Result:
    """Ask a store for another spec, one field at a time."""
    result = Result("one setting of the spec changed at a time")
    for field in fields(ConvBaseSpec):
        if field.name not in CHANGES:
            result.expect(False, f"{field.name}: this part does not know how to change it")
            continue
        change, named = CHANGES[field.name]
        folder = work / "specs" / field.name
        spec = _spec_for(field.name, folder)
        result.ran(children.run(_fill, sample, folder, spec), f"{field.name}: filling the store")
        before = _contents(folder)
        outcome = children.run(_refusal, sample, folder, spec, change)
        result.ran(outcome, field.name)
        found, message = outcome.value or (None, "no message")
        refused = found == [named] and f"{named}: " in message and "\n" not in message
        result.expect(refused, f"{field.name}: {message}, fields {found}, not {named}")
        result.expect(_contents(folder) == before, f"{field.name}: the failed run changed the store")
        result.tried["changes refused; each message names the setting"] += refused
    return result.done()


def _spec_for(field: str, folder: Path) -> ConvBaseSpec:
    spec = stand_ins.SPEC
    folder.mkdir(parents=True)
    for file in ("base.keras", "weights.h5"):
        (folder / file).write_text("abc")
    if field == "conv_base_sha256":
        return replace(spec, conv_base=str(folder / "base.keras"), weights="imagenet")
    if field == "int8_sha256":
        return replace(spec, precision="int8")
    return replace(spec, weights=str(folder / "weights.h5")) if field == "weights_sha256" else spec


def _fill(sample: Sample, folder: Path, spec: ConvBaseSpec) -> None:
    extract_features(sample.images, folder / "cache", spec, batch_size=BATCH, workers=1)


def _refusal(sample: Sample, folder: Path, spec: ConvBaseSpec, change: Change) -> tuple[list[str] | None, str]:
    try:
        _fill(sample, folder, change(spec, folder))
    except StoreMismatch as error:
        return [difference[0] for difference in error.differences], str(error)
    return None, "no error"


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (folder / "cache").rglob("*") if path.is_file()}
