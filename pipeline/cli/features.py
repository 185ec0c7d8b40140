"""Stage one: compute the features of the images and write them to the store at --cache."""

from __future__ import annotations

import argparse
import contextlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli import console
from pipeline.cli.display.words import print_classes, warn_of_random_weights, warn_of_scored_train_images
from pipeline.cli.option_types import COUNT, SETTINGS, part
from pipeline.cli.shared_options import (
    add_cluster_options,
    add_images_argument,
    add_max_bad,
    add_spec_options,
    add_speed_options,
    add_split_options,
    open_engine,
    select_options,
    spec_from_options,
)
from pipeline.errors import PipelineError, WeightsUnavailable
from pipeline.text import counted, format_duration

if TYPE_CHECKING:
    from pipeline.conv_base.spec import ConvBaseSpec
    from pipeline.store import FeatureStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `features`."""
    add_images_argument(parser)
    parser.add_argument("--cache", required=True, metavar="DIR", help="the store; created if it does not exist")
    base = parser.add_argument_group("conv base")
    add_spec_options(base)
    text = "use random weights if the ImageNet weights cannot be downloaded; for a trial, not for results"
    base.add_argument("--allow-random-weights", action="store_true", help=text)
    store = parser.add_argument_group("store")
    text = "compression of the shards of a new store"
    store.add_argument("--compression", choices=("none", "gzip"), default="none", help=text)
    store.add_argument("--rebuild", action="store_true", help="delete the features in the store and compute all again")
    images = parser.add_argument_group("images")
    add_split_options(images)
    add_max_bad(images)
    _add_view_options(parser)
    add_cluster_options(parser)
    parts = parser.add_argument_group("many machines without a cluster")
    text = "write the plan of what is to be computed into the store, print it and stop"
    parts.add_argument("--plan", action="store_true", help=text)
    text = (
        "compute part I, from 1 to N, of the shards of a plan that --plan has written; all parts may run at the same "
        "time, and the same command without --part lists what they computed"
    )
    parts.add_argument("--part", type=part, metavar="I/N", help=text)
    add_speed_options(parser)


def _add_view_options(parser: argparse.ArgumentParser) -> None:
    from pipeline.images.augment import Augmentation

    views = parser.add_argument_group("augmented views of the train images")
    text = (
        "views of each train image to store: the image itself and N - 1 augmented copies; views above N are deleted, "
        "1 deletes all copies (default: the views in the store are brought up to date)"
    )
    views.add_argument("--views", **COUNT, help=text)
    *settings, seed = fields(Augmentation)
    ranges = "; ".join(f"{field.name}={json.dumps(field.default)}: {field.metadata['help']}" for field in settings)
    text = f"{ranges}; can be repeated (default: the values shown, or those of the views in the store)"
    views.add_argument("--augment", **SETTINGS, help=f"setting of the augmented copies. {text}")
    views.add_argument("--augment-seed", type=int, **seed.metadata)


def run(options: argparse.Namespace) -> int:
    """Fill or update a store; return 1 if too many images have no features."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.extraction.extract import extract_features
    from pipeline.images.scan import scan_images
    from pipeline.store import open_features

    spec, stored = spec_from_options(options), None
    if options.part:
        _check_goes_with_part(options)
        return _compute_part(options, spec)
    with contextlib.suppress(PipelineError):  # `extract_features` raises what is wrong with the store
        stored = open_features(options.cache)
    with ConsoleCallbacks() as callbacks, open_engine(options) as cluster:
        images = scan_images(
            options.images,
            validation=options.validation,
            test=options.test,
            known=None if stored is None or options.rebuild else stored.images,
            cluster=cluster,
            on_read=lambda done, total: callbacks.progress("reading", done, total, "files"),
        )
        was_random, stored = stored is not None and stored.random_weights, None  # frees the memory of its index
        console.say(f"images     {len(images)} in {options.images}")
        print_classes(images)
        console.list_some("skipped", [f"{path} {reason}" for path, reason in images.skipped])
        settings = {**_extraction_settings(options), "cluster": cluster, "callbacks": callbacks}
        if options.allow_random_weights and was_random:
            spec = replace(spec, weights="random")
        try:
            store = extract_features(images, options.cache, spec, **settings)
        except WeightsUnavailable as error:
            if not options.allow_random_weights:
                raise
            console.warn(f"{error}; random weights are used, as --allow-random-weights is given")
            spec = replace(spec, weights="random")
            store = extract_features(images, options.cache, spec, **settings)
    if options.plan and callbacks.passes:
        passes = counted(callbacks.passes, "forward pass", "forward passes")
        duration = f"about {format_duration(callbacks.seconds)} as measured here"
        console.say(f"planned: {passes}, {duration}; go on with --part I/N, or without --plan")
        return 0
    return _show_result(store, callbacks.passes, options.max_bad)


def _extraction_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that are arguments of `extract_features`."""
    from pipeline.images.augment import Augmentation

    settings = select_options(options, "views", "batch_size", "workers", "compression", "rebuild", "mixed")
    seed = {} if options.augment_seed is None else {"seed": options.augment_seed}
    augmentation = {**dict(options.augment), **seed}
    settings["augmentation"] = Augmentation.from_settings(augmentation) if augmentation else None
    return {**settings, "plan_only": options.plan}


def _check_goes_with_part(options: argparse.Namespace) -> None:
    """Check that no option is given that has no effect with --part."""
    given = {"--plan": options.plan, "--rebuild": options.rebuild, "--on": options.on, "--views": options.views}
    given["--augment"] = options.augment or options.augment_seed
    if names := [name for name, value in given.items() if value]:
        raise PipelineError(
            f"{' and '.join(names)} cannot be given with --part, which computes what is planned already"
        )


def _compute_part(options: argparse.Namespace, spec: ConvBaseSpec) -> int:
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.extraction.compute_part import compute_part
    from pipeline.store import read_manifest

    if options.allow_random_weights and read_manifest(Path(options.cache)).sources["weights"] == "random":
        spec = replace(spec, weights="random")
    (number, parts), settings = options.part, select_options(options, "mixed", "batch_size", "workers")
    with ConsoleCallbacks() as callbacks:
        rows = compute_part(options.cache, number, parts, spec, callbacks=callbacks, **settings)
    console.say(f"part {number} of {parts}: {rows} rows computed; the same command without --part lists them")
    return 0


def _show_result(store: FeatureStore, passes: int, max_bad: float) -> int:
    from pipeline.store import count_views

    bad, n_views = store.bad, count_views(store.directory)
    console.list_some("without features", [f"{image.id}: {image.reason}" for image in bad])
    done = f"{passes} forward passes made" if passes else "nothing to compute"
    with_features = f"{len(store.members())} of {len(store.images)} images have features in {store.directory}"
    console.say(f"{done}: {with_features}" + (f", train images in {n_views} views" if n_views > 1 else ""))
    warn_of_random_weights(store)
    warn_of_scored_train_images(store)
    if len(bad) > max_bad * len(store.images):
        console.warn(f"{len(bad)} images without features are more than {max_bad:.1%}; see --max-bad")
        return 1
    return 0
