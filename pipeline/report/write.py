"""`write_report`: what is known of a store and its heads as one HTML file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from pipeline.errors import StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.durable import is_replaceable, write_durably
from pipeline.report import comparison, data, detail
from pipeline.report.figures import Figures
from pipeline.report.html import Markup, join, tag
from pipeline.report.material import Material, gather, members_of
from pipeline.report.scores import Predictions
from pipeline.report.style import CSS
from pipeline.store import FeatureStore
from pipeline.training.trained_head import TrainedHead

# Nothing is loaded from anywhere and nothing runs, whatever the names in the page hold.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(
    store: FeatureStore,
    file: str | Path,
    *,
    head: str | None = None,
    callbacks: Callbacks = SILENT,
) -> Path:
    """Write one HTML file that shows what a store holds and how good its heads are.

    The file needs nothing else, neither network nor scripts. Heads that cannot be loaded are listed with
    the reason. Images are looked up where they were when the store was filled; one that is gone or has
    changed leaves a placeholder.

    Parameters
    ----------
    store : FeatureStore
    file : path
        Replaced in one step if it is a report; anything else there is refused.
    head : str, optional
        The saved head to show in detail; the one of the best validation accuracy if not given.
    callbacks : Callbacks, optional

    Returns
    -------
    Path
        The file.

    Raises
    ------
    HeadError
        There is no such `head`, or it cannot be shown.
    StoreError
        The file cannot be where it is asked for.
    StoreDamaged
        A row of features is not what was written.
    OSError
        A full disk or an I/O error; `file` is as it was.
    """
    path = Path(file)
    if path.is_dir():
        raise StoreError(f"{path} is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent} is no directory to put {path.name} into; make it first")
    if not is_replaceable(path, rb"<!DOCTYPE html>"):
        raise StoreError(f"{path} exists and is no report; give another name, or remove it")
    write_durably(path, _document(gather(store, head, callbacks)).encode())
    return path


def _document(material: Material) -> Markup:
    title = data.title_of(material.store)
    sections = _sections(material)
    return join(
        Markup("<!DOCTYPE html>\n"),
        tag(
            "html",
            tag(
                "head",
                tag("meta", charset="utf-8"),
                tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
                tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
                tag("meta", name="color-scheme", content="light dark"),
                tag("title", f"{title}: report"),
                tag("link", rel="icon", href="data:,"),
                tag("style", Markup(CSS)),
            ),
            tag("body", _header(material, title, sections), tag("main", [part for _, _, part in sections]), _footer()),
            lang="en",
        ),
    )


def _header(material: Material, title: str, sections: Sequence[tuple[str, str, Markup]]) -> Markup:
    store, best = material.store, material.scores[0] if material.scores else None
    tiles = [
        (f"{len(store.images):,}", f"images, {len(store.members()):,} with features"),
        (f"{len(store.classes):,}", "classes"),
        (data.base_words(store), f"conv base; weights: {data.weights_words(store)}"),
    ]
    if best:
        on_others = ", on images of before" if best.name in material.problems else ""
        tiles.insert(
            0, (f"{best.evaluation.accuracy:.4f}", f"validation accuracy of the best head, {best.name}{on_others}")
        )
    written = time.strftime("%d %B %Y", time.gmtime((store.directory / "manifest.json").stat().st_mtime))
    made = f"store {data.name_of(store)} of {written}"
    return tag(
        "header",
        tag("h1", title),
        tag("p", f"Features of a frozen conv base and the heads trained on them; {made}", class_="soft"),
        _alarm() if store.random_weights else None,
        tag(
            "div",
            [_tile(number, words) for number, words in tiles],
            class_="tiles",
        ),
        tag("nav", [tag("a", words, href=f"#{id}") for id, words, _ in sections], aria_label="sections"),
    )


def _tile(number: str, words: str) -> Markup:
    kind = "tile" if number[0].isdigit() else "tile words"
    return tag("div", tag("b", number), tag("span", words), class_=kind)


def _alarm() -> Markup:
    text = "RANDOM WEIGHTS: this conv base has never seen a photo. Do not judge anything by these numbers."
    return tag("p", text, class_="alarm", role="alert")


def _sections(material: Material) -> list[tuple[str, str, Markup]]:
    """Id, title and section, in the order a colleague would ask."""
    store, figures = material.store, Figures()
    parts = [("leaderboard", "Leaderboard", _heads(material, figures))]
    if material.found.pairs or material.found.near:
        pairs = material.found.pairs[: data.MAX_PAIRS]
        pictures = iter([material.pictures[member] for member in members_of(store, material.found)])
        shown = [(pair, next(pictures), next(pictures)) for pair in pairs]
        parts.append(("duplicates", "Duplicates", data.duplicates(material.found, shown, data.place_of(store))))
    if material.shown:
        title = f"{'Best head' if material.shown is material.scores[0] else 'Head'}: {material.shown.name}"
        parts.append((comparison.anchor(material.scores, material.shown), title, _shown(material, figures)))
    if others := [one for one in material.scores if one is not material.shown]:
        parts.append(("others", "Other heads", _others(others, material, figures)))
    parts.append(("map", "Map of the features", data.feature_map(figures, material.mapped, store)))
    parts.append(("store", "What the store holds", data.holdings(store)))
    return [(id, title, tag("section", tag("h2", title), part, id=id)) for id, title, part in parts]


def _heads(material: Material, figures: Figures) -> Markup:
    store, scores, found = material.store, material.scores, material.predictions
    if not scores:
        advice = tag("code", f"python -m pipeline heads {data.place_of(store)}")
        return join(tag("p", "No head has been trained yet: ", advice), comparison.problems(material.problems))
    labels = store.images.labels[store.members("validation")]
    return join(
        comparison.leaderboard(scores, material.problems, labels[labels >= 0], store.classes),
        comparison.problems(material.problems),
        comparison.thresholds(figures, found, scores, store.classes),
        comparison.calibrations(found, scores),
        _sampled(found),
    )


def _sampled(found: Predictions) -> Markup | None:
    if len(found.members) == found.of:
        return None
    sample = f"{len(found.members):,} of {found.of:,} validation images"
    return tag("p", f"Curves, calibration and photos are of a random sample of {sample}.", class_="soft")


def _shown(material: Material, figures: Figures) -> Markup:
    one, found, store = material.shown, material.predictions, material.store
    if one is None:
        return Markup()
    whole = detail.head_detail(figures, one, found, store.classes)
    if material.gallery is None:
        why = "It gives no probabilities" if len(found.y) else "There are no validation images"
        why = "Its scores are of other images" if one.name in material.problems and len(found.y) else why
        return join(whole, tag("p", f"{why}, so there are no photos to look at.", class_="soft"))

    def photos(rows: np.ndarray) -> Markup:
        return detail.photos(rows, found, one.name, store.images.ids, store.classes, material.pictures)

    wrong, unsure = material.gallery
    return join(
        whole,
        tag("h3", "Most wrong"),
        tag(
            "p",
            "Validation images whose true class got the least probability. Wrong labels show up here.",
            class_="soft",
        ),
        photos(wrong) if len(wrong) else tag("p", "None: all are right."),
        tag("h3", "Least sure"),
        tag("p", "Validation images whose two most probable classes are nearest to each other.", class_="soft"),
        photos(unsure),
    )


def _others(others: Sequence[TrainedHead], material: Material, figures: Figures) -> Markup:
    classes, found = material.store.classes, material.predictions
    return join(
        tag(
            "details",
            tag("summary", f"{one.name}, accuracy {one.evaluation.accuracy:.4f}"),
            detail.head_detail(figures, one, found, classes),
            id=comparison.anchor(material.scores, one),
        )
        for one in others
    )


def _footer() -> Markup:
    try:
        release = version("cached-feature-pipeline")
    except PackageNotFoundError:  # run from a checkout that was never installed
        release = ""
    made = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime())
    return tag(
        "footer",
        tag(
            "p", f"Made by cached-feature-pipeline {release} on {made}. Nothing in this page is loaded from elsewhere."
        ),
    )
