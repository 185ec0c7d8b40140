"""`features`: stage one."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace

from pipeline.cli import console, display
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import PipelineError, WeightsUnavailable
from pipeline.extraction.extract import extract_features
from pipeline.images.augment import Augmentation
from pipeline.images.scan import scan_images
from pipeline.images.table import ImageTable
from pipeline.store import FeatureStore, count_views, open_features


def run(options: argparse.Namespace) -> int:
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
    display.show_images(images, options.images)
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
    with display.ConsoleCallbacks() as callbacks:
        return scan_images(
            options.images,
            validation=options.validation,
            test=options.test,
            known=None if stored is None or options.rebuild else stored.images,
            on_read=display.show_scan(callbacks),
        )


def _extract(images: ImageTable, spec: ConvBaseSpec, options: argparse.Namespace) -> tuple[FeatureStore, int]:
    with display.ConsoleCallbacks() as callbacks:
        store = extract_features(
            images,
            options.cache,
            spec,
            views=options.views,
            augmentation=_augmentation(options),
            batch_size=options.batch_size,
            workers=options.workers,
            compression=options.compression,
            rebuild=options.rebuild,
            callbacks=callbacks,
        )
    return store, callbacks.computed


def _augmentation(options: argparse.Namespace) -> Augmentation | None:
    settings = dict(options.augment)
    if options.augment_seed is not None:
        settings["seed"] = options.augment_seed
    return Augmentation.of(settings) if settings else None


def _conclude(store: FeatureStore, computed: int, options: argparse.Namespace) -> int:
    bad = store.bad
    display.list_some("without features", [f"{one.id}: {one.reason}" for one in bad])
    done = f"{computed} forward passes made" if computed else "nothing to compute"
    console.say(
        f"{done}: {len(store.members())} of {len(store.images)} images have features in {store.directory}"
        + (f", train images in {views} views" if (views := count_views(store.directory)) > 1 else "")
    )
    if store.random_weights:
        display.warn_random_weights()
    if len(bad) > options.max_bad * len(store.images):
        console.warn(f"{len(bad)} images without features are more than {options.max_bad:.1%}; see --max-bad")
        return 1
    return 0
