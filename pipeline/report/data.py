"""What is said of the data: duplicates, the map of the features, what the store holds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.duplicates.pairs import Duplicates, Pair
from pipeline.images.labels import SPLIT_FOLDERS
from pipeline.images.table import SPLITS
from pipeline.report.feature_map import DIMENSIONS, FeatureMap
from pipeline.report.figures import MARKERS, Figures
from pipeline.report.html import Markup, join, table, tag
from pipeline.report.style import LIGHT
from pipeline.store import FeatureStore
from pipeline.text import counted, format_size

MAX_PAIRS = 12
MAX_BAD = 50
MAX_CLASSES = 200
SYMBOLS = dict(zip(MARKERS, "●▲■◆▼✚✖★", strict=True))


def title_of(store: FeatureStore) -> str:
    """The folder that all the images lie in: a CSV file that lists them may be anywhere."""
    ids, root = store.images.ids, store.images.root  # in order, so that all lie below what these two have in common
    folder = Path(os.path.commonpath([os.path.abspath(root / id) for id in (ids[0], ids[-1])]))  # noqa: PTH100  # no links
    while folder.name.lower() in SPLIT_FOLDERS:
        folder = folder.parent
    return folder.name or name_of(store)


def name_of(store: FeatureStore) -> str:
    """The store's directory, without those above it; of `.` too."""
    return store.directory.resolve().name


def place_of(store: FeatureStore) -> str:
    """The store in a command, `.../photos`: whoever gets the page need not know the folders above."""
    return f".../{name_of(store)}"


def duplicates(found: Duplicates, shown: Sequence[tuple[Pair, Markup, Markup]], place: str) -> Markup:
    """The pairs, the worrying ones first, with pictures of the first few; `place` is the store's."""
    exact = sum(pair.kind == "exact" for pair in found.pairs)
    summary = (
        f"{counted(len(found.pairs), 'pair')} of images show the same picture ({exact:,} of equal files, "
        f"{len(found.pairs) - exact:,} of nearly equal pictures): {len(found.across_splits):,} across splits, "
        f"{len(found.two_labels):,} under two labels."
    )
    advice = [
        *[" Heads are scored on pictures that they were trained on."] * bool(found.across_splits),
        *[" One of two labels is wrong, or the picture shows both."] * bool(found.two_labels),
    ]
    if not found.pairs:
        text = "No two images show the same picture." if found.near else "No two files are equal."
        summary_part = tag("p", text)
    else:
        summary_part = tag("p", summary, advice, class_="warning" if advice else None)
    return join(
        summary_part,
        None if found.near else _search(place),
        tag("ul", [_pair(*one) for one in shown], class_="gallery pairs") if shown else None,
        _left_out(len(found.pairs) - len(shown), "pair"),
    )


def _search(place: str) -> Markup:
    return tag(
        "p",
        "Only equal files were looked for. To find pictures that were saved again, resized or mirrored: ",
        tag("code", f"python -m pipeline duplicates {place}"),
        class_="soft",
    )


def _left_out(n: int, noun: str) -> Markup | None:
    return tag("p", f"... and {counted(n, noun)} more.", class_="soft") if n > 0 else None


def _pair(pair: Pair, first: Markup, second: Markup) -> Markup:
    faults = [*["two splits"] * pair.across_splits, *["two labels"] * pair.two_labels]
    kind = "equal files" if pair.kind == "exact" else f"similarity {pair.similarity:.3f}"
    heading = tag(
        "p", kind, ": " if faults else None, tag("b", " and ".join(faults), class_="wrong") if faults else None
    )
    sides = [
        tag("div", picture, tag("b", label), split, tag("span", id, class_="id"), class_="photo")
        for picture, label, split, id in zip((first, second), pair.labels, pair.splits, pair.ids, strict=True)
    ]
    return tag("li", heading, tag("div", sides), class_="pair")


def feature_map(figures: Figures, mapped: FeatureMap | None, store: FeatureStore) -> Markup:
    """The map with its legend, or why there is none."""
    if mapped is None:
        return tag("p", "There are too few images with features for a map, or all of them have the same.")
    labels = store.images.labels[mapped.members]
    counts = np.bincount(labels[labels >= 0], minlength=len(store.classes))
    order = np.argsort(-counts, kind="stable")[: len(LIGHT) - (len(counts) > len(LIGHT))]  # the others share the last
    order = np.sort(order)
    code = np.full(len(counts) + 1, len(LIGHT) - 1)
    code[order] = np.arange(len(order))
    names = [store.classes[at] for at in order.tolist()]
    names += [f"{len(counts) - len(names)} other classes"] if len(counts) > len(names) else []
    part = f"A random sample of {len(labels):,} of {mapped.of:,} images" if mapped.of > len(labels) else "All images"
    return tag(
        "figure",
        tag("ul", [tag("li", _symbol(at), name) for at, name in enumerate(names)], class_="legend"),
        figures.feature_map(mapped.places, code[labels]),
        tag(
            "figcaption",
            f"{part} with features, of all splits; average pooling, scaling, PCA to {DIMENSIONS} dimensions, t-SNE "
            "with a fixed seed. Near points are images that the conv base finds alike; distances between far groups, "
            "and the sizes of groups, mean little. Classes that lie apart here are easy for any head.",
        ),
        class_="big",
    )


def _symbol(at: int) -> Markup:
    return tag("span", SYMBOLS[MARKERS[at]], class_="mark", style=f"color: var(--c{at})", aria_hidden="true")


def holdings(store: FeatureStore) -> Markup:
    """Counts, spec, versions, images without features."""
    return join(
        tag("h3", "Images"),
        _counts(store),
        tag("h3", "Features"),
        _facts(store),
        tag("h3", "Without features"),
        _bad(store),
    )


def _counts(store: FeatureStore) -> Markup:
    counts = store.images.counts()
    used = [at for at in range(len(SPLITS)) if counts[:, at].any()]
    rows = [
        [name, *(f"{row[at]:,}" for at in used), f"{row.sum():,}"]
        for name, row in list(zip(store.classes, counts, strict=True))[:MAX_CLASSES]
    ]
    if len(store.classes) > MAX_CLASSES:
        rows.append([f"... {len(store.classes) - MAX_CLASSES:,} more classes", *[""] * (len(used) + 1)])
    rows.append(["all", *(f"{counts[:, at].sum():,}" for at in used), f"{counts.sum():,}"])
    return table("Images by class and split", ["class", *(SPLITS[at] for at in used), "all"], rows)


def _facts(store: FeatureStore) -> Markup:
    manifest, spec = store.manifest, store.manifest.spec
    size = sum(entry.bytes for entry in manifest.shards)
    facts: Mapping[str, object] = {
        "conv base": base_words(store),
        "weights": weights_words(store),
        "input size": "{} x {} pixels".format(*spec["size"]),
        "cut": spec.get("cut") or "the last layer",
        "computed in": _precision(store),
        "one row": f"{store.feature_shape} {store.dtype}, {format_size(store.bytes_per_row)}",
        "shards": f"{len(manifest.shards):,}, {format_size(size)}",
        "fingerprint": tag("code", store.fingerprint),
        "weights sha256": tag("code", spec["weights_sha256"]),
        "made with": ", ".join(f"{name} {version}" for name, version in manifest.made_with.items()),
    }
    rows = [[name, tag("td", value, class_="words")] for name, value in facts.items()]
    return table("How the features were made", ["what", "value"], rows, class_="facts")


def base_words(store: FeatureStore) -> str:
    """The conv base with its arguments; of a file its name, not the folder of whoever made the page."""
    arguments = store.manifest.spec.get("conv_base_args") or {}
    words = ", ".join(f"{key}={value}" for key, value in arguments.items())
    return Path(str(store.manifest.sources["conv_base"])).name + (f" ({words})" if words else "")


def weights_words(store: FeatureStore) -> str:
    """Which weights."""
    weights = str(store.manifest.sources.get("weights"))
    return {"imagenet": "ImageNet", "random": "RANDOM"}.get(weights, Path(weights).name)


def _precision(store: FeatureStore) -> str:
    precision, error = str(store.manifest.spec["precision"]), store.manifest.precision_error
    if not error:
        return precision
    return f"{precision}; relative L2 error {error['relative_l2']:.1e} against float32 on {error['images']} images"


def _bad(store: FeatureStore) -> Markup:
    bad = store.bad
    waiting = f"{counted(store.pending, 'image')} wait for features: run `features` again." if store.pending else None
    if not bad:
        return join(
            tag("p", waiting, class_="warning") if waiting else None, tag("p", "None: every image could be used.")
        )
    rows = [
        [one.id, tag("td", one.status.words, class_="words"), tag("td", one.reason, class_="words")]
        for one in bad[:MAX_BAD]
    ]
    return join(
        tag("p", waiting, class_="warning") if waiting else None,
        table(f"{counted(len(bad), 'image')} could not be used", ["image", "status", "reason"], rows),
        _left_out(len(bad) - MAX_BAD, "image"),
    )
