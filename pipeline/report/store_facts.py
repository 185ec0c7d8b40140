"""Facts about a store: its title, conv base and weights, and how its features were computed."""

import os
from pathlib import Path

from pipeline.images.labels import SPLIT_FOLDERS
from pipeline.store import FeatureStore, Manifest
from pipeline.text import format_size


def report_title(store: FeatureStore) -> str:
    """Return the name of the folder that holds all images, which need not be that of a CSV file listing them."""
    ids, root = store.images.ids, store.images.root
    # The ids are sorted, so all images lie below what the first and the last one have in common.
    folder = Path(os.path.commonpath([os.path.abspath(root / id) for id in (ids[0], ids[-1])]))  # noqa: PTH100  # no links
    while folder.name.lower() in SPLIT_FOLDERS:
        folder = folder.parent
    return folder.name or store_name(store)


def store_name(store: FeatureStore) -> str:
    """Return the name of the store's directory, also if the store was opened as `.`."""
    return store.directory.resolve().name


def feature_facts(store: FeatureStore) -> dict[str, str]:
    """Return how the features were computed and stored, by the name of each fact.

    Of files only their names are shown: readers of the report need not know the folders above them.
    """
    manifest = store.manifest
    parts = [_conv_base_facts(part) for part in manifest.parts]
    facts = dict(parts[0])
    if manifest.is_joined:
        facts = {name: " + ".join(part[name] for part in parts) for name in ("conv base", "weights")}
        for number, part in enumerate(parts, 1):
            facts |= {f"{name} of part {number}": value for name, value in part.items()}
    return facts | {
        "one row": f"{store.feature_shape} {store.dtype}, {format_size(store.bytes_per_row)}",
        "shards": f"{len(manifest.shards):,}, {format_size(sum(shard.bytes for shard in manifest.shards))}",
        "fingerprint": store.fingerprint,
        "made with": ", ".join(f"{name} {version}" for name, version in manifest.made_with.items()),
    }


def _conv_base_facts(manifest: Manifest) -> dict[str, str]:
    spec = manifest.spec
    arguments = ", ".join(f"{key}={value}" for key, value in (spec.get("conv_base_args") or {}).items())
    weights = str(manifest.sources.get("weights"))
    precision, error = str(spec["precision"]), manifest.precision_error
    if error:
        precision += f"; relative L2 error {error['relative_l2']:.1e} against float32 on {error['images']} images"
    return {
        "conv base": Path(str(manifest.sources["conv_base"])).name + (f" ({arguments})" if arguments else ""),
        "weights": {"imagenet": "ImageNet", "random": "RANDOM"}.get(weights, Path(weights).name),
        "input size": "{} x {} pixels".format(*spec["size"]),
        "cut": spec.get("cut") or "the last layer",
        "precision": precision,
        "weights sha256": spec["weights_sha256"],
    }
