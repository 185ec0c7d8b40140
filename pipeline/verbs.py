"""What each verb of the command line does; each returns an exit status."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import console, views
from pipeline.errors import PipelineError, StoreError, WeightsUnavailable
from pipeline.extract import extract_features
from pipeline.images import scan_images
from pipeline.spec import ConvBaseSpec
from pipeline.store import FeatureStore, open_features
from pipeline.table import SPLITS, ImageTable


def features(options: argparse.Namespace) -> int:
    """Stage one."""
    spec = ConvBaseSpec(
        conv_base=options.conv_base,
        conv_base_args=dict(options.conv_base_arg),
        weights=options.weights,
        size=options.size,
        cut=options.cut,
        preprocessing=options.preprocessing,
        resize=options.resize,
        precision=options.precision,
        store_dtype=options.store_dtype,
    )
    stored = None
    with contextlib.suppress(PipelineError):  # whatever is wrong with the store is said when it is used
        stored = open_features(options.cache)
    images = _scan(options, stored)
    views.show_images(images, options.images)
    if options.allow_random_weights and stored is not None and stored.random_weights:
        spec = replace(spec, weights="random")
    try:
        store, computed = _extract(images, spec, options)
    except WeightsUnavailable as error:
        if not options.allow_random_weights:
            raise
        console.warn(f"{error}; going on with random weights, as --allow-random-weights says")
        store, computed = _extract(images, replace(spec, weights="random"), options)
    return _conclude(store, computed, options)


def _scan(options: argparse.Namespace, stored: FeatureStore | None) -> ImageTable:
    with console.meters() as on_progress:
        return scan_images(
            options.images,
            validation=options.validation,
            test=options.test,
            known=None if stored is None or options.rebuild else stored.images,
            on_read=lambda done, total: on_progress("files", done, total),
        )


def _extract(images: ImageTable, spec: ConvBaseSpec, options: argparse.Namespace) -> tuple[FeatureStore, int]:
    progress = views.ConsoleProgress()
    try:
        store = extract_features(
            images,
            options.cache,
            spec,
            batch_size=options.batch_size,
            workers=options.workers,
            compression=options.compression,
            rebuild=options.rebuild,
            progress=progress,
        )
    finally:
        progress.close()
    return store, progress.computed


def _conclude(store: FeatureStore, computed: int, options: argparse.Namespace) -> int:
    bad = store.bad
    views.list_some("without features", [f"{one.id}: {one.reason}" for one in bad])
    done = f"{computed} forward passes made" if computed else "nothing to compute"
    console.say(f"{done}: {len(store.members())} of {len(store.images)} images have features in {store.directory}")
    if store.random_weights:
        views.warn_random_weights()
    if len(bad) > options.max_bad * len(store.images):
        console.warn(f"{len(bad)} images without features are more than {options.max_bad:.1%}; see --max-bad")
        return 1
    return 0


def heads(options: argparse.Namespace) -> int:
    """Stage two."""
    from pipeline.train import check_ready, memory_needed, title_of, train_heads

    store = open_features(options.store)
    check_ready(store, options.max_bad)
    params = _head_params(options)
    n, n_validation = len(store.members("train")), len(store.members("validation"))
    memory = memory_needed(store, options.heads, params)
    console.say(
        f"{store.directory}: {n} train and {n_validation} validation images, features {store.feature_shape} "
        f"{store.dtype}, about {console.size(memory)} of memory for the heads"
    )
    if store.random_weights:
        views.warn_random_weights()
    if "dense" in options.heads:
        console.start_tensorflow_quietly()
    watch = views.HeadsProgress(options.epochs)
    try:
        trained = train_heads(
            store,
            options.heads,
            params=params,
            max_bad=options.max_bad,
            on_start=watch.start,
            on_epoch=watch.epoch,
            on_trained=watch.trained,
        )
    finally:
        watch.close()
    console.out().print(
        views.leaderboard(title_of(f"{n_validation} validation images", store), [one.metrics() for one in trained])
    )
    console.say(f"saved in {store.heads_directory}")
    return 0


def _head_params(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    from pipeline.heads import head_params

    params: dict[str, dict[str, Any]] = {name: {} for name in options.heads}
    if "dense" in params:
        params["dense"] = {
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "units": options.units,
            "dropout": options.dropout,
            "learning_rate": options.learning_rate,
            "patience": options.early_stopping,
        }
    for name in options.heads if options.balanced else ():
        if "class_weight" in head_params(name):
            params[name]["class_weight"] = "balanced"
        else:
            console.warn(f"{name} takes no class weights; it is trained without")
    for head, key, value in options.settings:
        if head not in params:
            raise StoreError(f"--set {head}.{key}: '{head}' is not among --heads {','.join(options.heads)}")
        params[head][key] = value
    return params


def verify(options: argparse.Namespace) -> int:
    """Look for what is wrong with a store."""
    from pipeline.verify import head_directories, verify_store

    store = open_features(options.store)
    if options.recompute:
        console.start_tensorflow_quietly()
    with console.meters() as on_progress:
        findings = verify_store(
            options.store,
            full=options.full,
            recompute=options.recompute,
            sources=options.sources,
            on_progress=on_progress,
            on_recomputed=lambda rows, largest: console.say(
                f"computed {rows} rows again: the largest relative L2 error is {largest:.1e}"
            ),
        )
    counts = {
        "shard": len(store.manifest.shards),
        "row": sum(entry.stop - entry.start for entry in store.manifest.shards),
        "head": len(head_directories(store)),
    }
    depth = "" if options.full else "names, sizes and fingerprints of "
    looked_at = f"checked {depth}{', '.join(console.counted(n, noun) for noun, n in counts.items())}"
    return views.show_findings(looked_at, findings, store.directory)


def repair(options: argparse.Namespace) -> int:
    """Compute bad shards again."""
    from pipeline.repair import repair_store

    progress = views.ConsoleProgress()
    try:
        with console.meters() as on_progress:
            report = repair_store(
                options.store,
                progress,
                batch_size=options.batch_size,
                workers=options.workers,
                on_progress=on_progress,
            )
    finally:
        progress.close()
    for name, problem in report.problems.items():
        console.say(f"{name} {problem}")
    for path in report.quarantined:
        console.say(f"moved to {path}")
    views.list_some("without features now", [f"{one.id}: {one.reason}" for one in report.lost])
    console.say(f"computed {console.counted(report.rows, 'row')} again" if report.rows else "nothing to repair")
    return 1 if report.lost else 0


def pack(options: argparse.Namespace) -> int:
    """One file to hand on."""
    from pipeline.pack import pack_store

    store = open_features(options.store)
    if store.random_weights:
        views.warn_random_weights()
    with console.meters() as on_progress:
        packed = pack_store(options.store, options.file, on_progress=lambda *done: on_progress("images", *done))
    size = console.size(Path(options.file).stat().st_size)
    console.say(f"packed {packed} of {len(store.images)} images into {options.file}, {size}")
    return 0


def info(options: argparse.Namespace) -> int:
    """What a store holds."""
    from pipeline.train import saved_metrics

    store = open_features(options.store)
    document = _describe(store, list(saved_metrics(store)))
    if options.json:
        json.dump(document, sys.stdout, indent=1, sort_keys=True)
        print()
        return 0
    views.show_info(document)
    return 0


def _describe(store: FeatureStore, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    counts = store.images.counts()
    files = [path for path in Path(store.directory).rglob("*") if path.is_file()]
    return {
        "directory": str(store.directory),
        "images": len(store.images),
        "with_features": len(store.members()),
        "pending": store.pending,
        "bad": [{"id": one.id, "status": one.status.words, "reason": one.reason} for one in store.bad],
        "classes": {
            name: dict(zip(SPLITS, row.tolist(), strict=True)) for name, row in zip(store.classes, counts, strict=True)
        },
        "feature_shape": list(store.feature_shape),
        "spec": dict(store.manifest.spec),
        "sources": dict(store.manifest.sources),
        "fingerprint": store.fingerprint,
        "random_weights": store.random_weights,
        "shards": len(store.manifest.shards),
        "bytes": sum(path.stat().st_size for path in files),
        "made_with": dict(store.manifest.made_with),
        "heads": metrics,
    }
