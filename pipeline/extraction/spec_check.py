"""Check whether a store is what is asked for, without TensorFlow and without a lock."""

from pathlib import Path

from pipeline.conv_base.fingerprint import Difference, compare
from pipeline.conv_base.hash_files import hash_files
from pipeline.conv_base.spec import WEIGHTS_WORDS, ConvBaseSpec
from pipeline.conv_base.zoo import normalise_name
from pipeline.errors import StoreMismatch
from pipeline.files.durable import sha256_of_file
from pipeline.store import Manifest


def is_surely_same_spec(manifest: Manifest, spec: ConvBaseSpec) -> bool:
    """Return whether a spec is the store's; False means that only the loaded conv base can tell.

    Specs that certainly differ raise StoreMismatch.
    """
    asked = spec.identity()
    if normalise_name(spec.conv_base) == normalise_name(manifest.spec["conv_base"]):
        asked["conv_base"] = manifest.spec["conv_base"]
    check_same_spec(compare(manifest.spec, asked, settled=spec.is_resolved))
    cut = manifest.spec["cut"]  # a layer's name, also where `top1` was asked for
    return spec.is_resolved or (spec.cut in (cut, manifest.sources.get("cut", cut)) and _has_same_files(manifest, spec))


def _has_same_files(manifest: Manifest, spec: ConvBaseSpec) -> bool:
    if spec.weights in WEIGHTS_WORDS and not spec.is_path:
        return bool(spec.weights == manifest.sources["weights"])
    path = Path(spec.conv_base if spec.is_path else spec.weights)
    if manifest.spec["precision"] == "int8" and not path.exists():  # the store needs it no more
        return bool(str(path.absolute()) == manifest.sources["weights"])
    if spec.is_path:
        return hash_files(spec) == manifest.spec["conv_base_sha256"]
    return path.is_file() and sha256_of_file(path) == manifest.sources.get("weights_file_sha256")


def check_same_spec(
    differences: list[Difference], remedy: str = "give another --cache directory, or --rebuild"
) -> None:
    """Raise StoreMismatch if there are differences between a store's spec and the one asked for."""
    if differences:
        listed = "; ".join(map(str, differences))
        raise StoreMismatch(f"the store was made with another spec: {listed}; {remedy}", differences)
