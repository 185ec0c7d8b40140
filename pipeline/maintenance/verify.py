"""Check whether the files of a store are what they claim to be; nothing here changes a store."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.conv_base.int8 import read_model
from pipeline.conv_base.precision import relative_l2, tolerance_of
from pipeline.defaults import EXTRACT_BATCH
from pipeline.errors import SpecError, StoreDamaged, StoreMismatch
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.conv_base_loading import load_any_conv_base
from pipeline.extraction.decode_ahead import list_tasks
from pipeline.extraction.run_conv_base import compute_tasks
from pipeline.files.durable import TEMPORARY, read_json, sha256_of_file
from pipeline.images.content_hashes import UNREADABLE, read_contents
from pipeline.store import (
    FeatureStore,
    ShardDamaged,
    ShardEntry,
    StoreLayout,
    open_features,
    open_view,
    view_directory,
    view_numbers,
)
from pipeline.store.file_names import SHARDS
from pipeline.text import COMMAND

REPAIR = f"`{COMMAND} repair {{}}`"
FEATURES = f"run `{COMMAND} features IMAGES --cache {{}}` again"
TOUCH = f"`touch` the images that were edited, then run `{COMMAND} features IMAGES --cache {{}}` again"
HEADS = f"`{COMMAND} heads {{}}`"
VIEWS = f"drop the views with `{COMMAND} features IMAGES --cache {{}} --views 1` and make them again"
COPY = f"restore it from a copy of the store, or start over with `{COMMAND} features IMAGES --cache {{}} --rebuild`"
SOURCES = f"put the conv base back, or start over with `{COMMAND} features IMAGES --cache {{}} --rebuild`"

JOIN = (
    "put back what is gone, bring the stores that it is joined of up to date, and run "
    f"`{COMMAND} heads {{}}`, which reads them again"
)
IN_PLACE = (REPAIR, HEADS)  # what to do with a store of any kind


class Finding(NamedTuple):
    """Something wrong with a store."""

    what: str  # a path below the store, or the id of an image
    problem: str  # in words
    remedy: str  # what to do, with `{}` for the store's directory


def verify_store(
    directory: str | Path,
    *,
    full: bool = False,
    recompute: int = 0,
    sources: bool = False,
    seed: int = 0,
    callbacks: Callbacks = SILENT,
) -> list[Finding]:
    """Check a store and its views.

    Names, sizes, ranges and fingerprints of shards and heads are always checked.

    Parameters
    ----------
    directory : path
        The directory of the store.
    full : bool
        Whether to read every byte: the sha256 of shards and heads, the crc32 of each row, its status
        against the manifest, finite values in good rows and zeros in the others.
    recompute : int
        Number of random good rows, of the store and of each view, to compute again. The maximum
        relative L2 error depends on the precision of the conv base, see `tolerance_of`.
    sources : bool
        Whether to read every image and to compare its sha256 with the index. This also finds an
        image that was edited and given back its size and time.
    seed : int
        Seed of the choice of rows.
    callbacks : Callbacks, optional

    Returns
    -------
    list of Finding
        Empty if nothing is wrong.

    Raises
    ------
    StoreError
        There is no store.
    StoreDamaged
        Its manifest or its index is damaged, so that nothing else can be checked.
    """
    store = open_features(directory)
    findings = _check_features(store, full, recompute, seed, callbacks)
    for head in head_directories(store):
        findings += [Finding(_name(store, head), problem, HEADS) for problem in _head_problems(store, head, full)]
    for number in view_numbers(store.directory):
        name = _name(store, view_directory(store.directory, number))
        try:
            of_view = _check_features(open_view(store, number), full, recompute, seed, callbacks)
            findings += [finding._replace(what=f"{name}/{finding.what}") for finding in of_view]
        except (StoreDamaged, StoreMismatch) as error:
            findings.append(Finding(name, str(error), VIEWS))
    if sources:
        findings += _check_images(store, callbacks)
    if store.is_joined:
        findings = [
            finding._replace(remedy=JOIN) if finding.remedy not in IN_PLACE else finding for finding in findings
        ]
    return findings


def _check_features(store: FeatureStore, full: bool, recompute: int, seed: int, callbacks: Callbacks) -> list[Finding]:
    problems = dict(shard_problems(store, full=full, callbacks=callbacks))
    findings = [Finding(_name(store, store.shards.path(entry)), text, REPAIR) for entry, text in problems.items()]
    listed = {store.shards.path(entry) for entry in store.manifest.shards}
    for path in sorted((store.directory / SHARDS).glob("*")):
        if path.name.startswith(TEMPORARY):
            findings.append(Finding(_name(store, path), "is a temporary file of a run that was killed", FEATURES))
        elif path not in listed:
            findings.append(Finding(_name(store, path), "is not listed in the manifest", FEATURES))
    for part in store.parts:
        if part.conv_base_spec.precision == "int8" and part.conv_base_spec.view is None:
            findings += [Finding(_name(store, part.int8_model), problem, COPY) for problem in _int8_problems(part)]
    if store.pending:
        findings.append(Finding("index", f"{store.pending} of {len(store.images)} images wait for features", FEATURES))
    if recompute:
        rows = np.unique(store.index.rows[store.members()])
        for entry in problems:
            rows = rows[(rows < entry.start) | (rows >= entry.stop)]
        chosen = np.random.default_rng(seed).choice(rows, min(recompute, len(rows)), replace=False)
        findings += _recompute_rows(store, np.sort(chosen), callbacks)
    return findings


def shard_problems(store: FeatureStore, *, full: bool, callbacks: Callbacks) -> Iterator[tuple[ShardEntry, str]]:
    """Find the shards that are wrong, each with its problem; see `verify_store` for `full`."""
    for done, entry in enumerate(store.manifest.shards, 1):
        if problem := _shard_problem(store, entry, full):
            yield entry, problem
        callbacks.progress("checking", done, len(store.manifest.shards), "shards")


def _shard_problem(store: FeatureStore, entry: ShardEntry, full: bool) -> str | None:
    path = store.shards.path(entry)
    if path.is_file() and path.stat().st_size != entry.bytes:
        return f"has {path.stat().st_size} bytes, not {entry.bytes}"
    try:
        shard = store.shards.open_file(entry.start, entry.stop, sha256=entry.sha256 if full else None)
        if not np.array_equal(shard.status, store.row_status[entry.start : entry.stop]):
            return "marks other rows as bad than the manifest does"
        if full:
            shard.check_rows()
    except ShardDamaged as error:
        return error.problem
    return None


def _int8_problems(store: StoreLayout) -> Iterator[str]:
    try:
        read_model(store.int8_model, store.conv_base_spec)
    except ValueError as error:
        yield str(error)


def _recompute_rows(store: FeatureStore, rows: np.ndarray, callbacks: Callbacks) -> Iterator[Finding]:
    try:
        conv_base = load_any_conv_base(store, callbacks)
    except (SpecError, StoreMismatch) as error:
        yield Finding("conv base", str(error), SOURCES)
        return
    errors, tolerance = [], tolerance_of(store.spec)
    tasks = list_tasks(store.index, np.stack([rows, rows + 1], axis=1), store.spec.view)
    for done, row in enumerate(compute_tasks(tasks, store, conv_base.compute, batch_size=EXTRACT_BATCH), 1):
        callbacks.progress("computing again", done, len(rows), "rows")
        if row.features is None:
            yield Finding(str(row.task.id), f"its features cannot be computed again: {row.reason}", TOUCH)
            continue
        try:
            errors.append(relative_l2(row.features, store.read_rows(rows[done - 1 : done])[0]))
        except ShardDamaged as error:
            yield Finding(_name(store, error.path), error.problem, REPAIR)
            continue
        if errors[-1] > tolerance:
            yield Finding(str(row.task.id), f"its features, computed again, differ by {errors[-1]:.1e}", SOURCES)
    callbacks.rows_recomputed(len(errors), max(errors, default=0.0))


def head_directories(store: FeatureStore) -> list[Path]:
    """Return the directories of a store's heads."""
    return sorted(path for path in store.heads_directory.glob("*") if path.is_dir())


def _head_problems(store: FeatureStore, directory: Path, full: bool) -> Iterator[str]:
    try:
        record = read_json(directory / "head.json")
    except FileNotFoundError:
        yield "has no head.json: it was never saved as a whole"
        return
    except (OSError, ValueError) as error:
        yield f"cannot be read: {error}"
        return
    model = directory / Path(str(record.get("model"))).name
    if not model.is_file():
        yield f"its model {model.name} is missing"
    elif full and sha256_of_file(model) != record.get("sha256"):
        yield f"its model {model.name} is not what was written (its sha256 differs)"
    fingerprint, classes = str(record.get("fingerprint")), record.get("classes")
    if fingerprint != store.fingerprint:
        yield f"was trained on features {fingerprint[:12]}; the store's are {store.fingerprint[:12]}"
    if classes != list(store.classes):
        yield f"was trained on the classes {_listed(classes)}; the store has {_listed(store.classes)}"


def _check_images(store: FeatureStore, callbacks: Callbacks) -> Iterator[Finding]:
    images = store.images
    if not images.root.is_dir():
        yield Finding(str(images.root), "is gone: none of the images can be read", FEATURES)
        return
    contents = read_contents(
        images.root, images.ids, lambda done, total: callbacks.progress("reading", done, total, "images")
    )
    for id, content, key, readable in zip(images.ids, contents, images.content_keys(), images.readable, strict=True):
        if content == UNREADABLE:
            if not (images.root / id).exists():
                yield Finding(id, "is missing", FEATURES)
            elif readable:
                yield Finding(id, "cannot be read", FEATURES)
        elif content != key:
            yield Finding(id, "is not the image that its features were made from", TOUCH)


def _name(store: FeatureStore, path: Path) -> str:
    return path.relative_to(store.directory).as_posix()


def _listed(names: Any, most: int = 10) -> str:
    names = [str(name) for name in names] if isinstance(names, Sequence) else [str(names)]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
