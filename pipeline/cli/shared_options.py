"""Options that several verbs share; those of a conv base come from the fields of `ConvBaseSpec`."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Collection, Iterator
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

from pipeline import defaults
from pipeline.cli.option_types import COUNT, FRACTION, NUMBER, SETTINGS, counts, size
from pipeline.text import counted

if TYPE_CHECKING:
    from pipeline.cluster import Cluster
    from pipeline.conv_base.spec import ConvBaseSpec


def add_images_argument(parser: argparse.ArgumentParser) -> None:
    """Add IMAGES."""
    text = (
        "folder of class folders (also below train/, validation/, test/), flat folder of cat.17.jpg, or CSV file with "
        "path,label[,split,group]"
    )
    parser.add_argument("images", metavar="IMAGES", help=text)


def add_split_options(images: argparse._ActionsContainer) -> None:
    """Add --validation and --test."""
    text = "fraction of the images without a given split that is used for validation"
    images.add_argument("--validation", **FRACTION, default=defaults.VALIDATION, help=text)
    text = "fraction of the images without a given split that is used for testing"
    images.add_argument("--test", **FRACTION, default=defaults.TEST, help=text)


def add_spec_options(
    parser: argparse._ActionsContainer, only: Collection[str] | None = None, **other_defaults: Any
) -> None:
    """Add one option for each field of `ConvBaseSpec` that has a help text, or for those with the names in `only`.

    `other_defaults` replace the defaults of the fields.
    """
    for field in _spec_fields(only):
        if field.name == "conv_base_args":
            parser.add_argument("--conv-base-arg", dest=field.name, **{**SETTINGS, **field.metadata})
            continue
        default = other_defaults.get(field.name, field.default)
        value_type = size if field.name == "size" else str
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=value_type, default=default, **field.metadata)


def spec_from_options(options: argparse.Namespace, only: Collection[str] | None = None) -> ConvBaseSpec:
    """Return the spec that the options of `add_spec_options` describe."""
    from pipeline.conv_base.spec import ConvBaseSpec

    values = select_options(options, *(field.name for field in _spec_fields(only)))
    return ConvBaseSpec(**{**values, "conv_base_args": dict(options.conv_base_args)})


def _spec_fields(only: Collection[str] | None) -> list[Field[Any]]:
    from pipeline.conv_base.spec import ConvBaseSpec

    named = [field for field in fields(ConvBaseSpec) if "help" in field.metadata]
    return [field for field in named if only is None or field.name in only]


def select_options(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the options with these names as keyword arguments."""
    return {name: getattr(options, name) for name in names}


def add_speed_options(parser: argparse.ArgumentParser) -> None:
    """Add --batch-size and --workers of the forward passes."""
    speed = parser.add_argument_group("speed")
    text = "images per forward pass; affects speed and memory only"
    speed.add_argument("--batch-size", **COUNT, default=defaults.EXTRACT_BATCH, help=text)
    speed.add_argument("--workers", **COUNT, help="threads that decode images, in each process (default: one per core)")


def add_engine_option(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add --on; return its group."""
    engine = parser.add_argument_group("many machines")
    text = (
        "compute on a Dask cluster: local:N starts N processes on this machine; tcp://HOST:PORT, or the path of a "
        "scheduler file, joins a cluster that was started before (default: compute in this process)"
    )
    engine.add_argument("--on", metavar="ENGINE", help=text)
    return engine


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Add --on and --mixed."""
    engine = add_engine_option(parser)
    text = "admit machines whose features differ from the store's within the tolerance of its precision"
    engine.add_argument("--mixed", action="store_true", help=text)


@contextlib.contextmanager
def open_engine(options: argparse.Namespace) -> Iterator[Cluster | None]:
    """Open the cluster of --on; None if there is none."""
    if options.on is None:
        yield None
        return
    from pipeline.cli import console
    from pipeline.cluster import open_cluster

    with open_cluster(options.on) as cluster:
        hosts = cluster.hosts()
        n_workers, n_hosts = counted(len(hosts), "worker"), counted(len(set(hosts)), "host")
        console.say(f"cluster    {n_workers} on {n_hosts} of {options.on}")
        yield cluster


def add_max_bad(parser: argparse._ActionsContainer) -> None:
    """Add --max-bad."""
    text = "largest tolerated fraction of images without features; above it no head is trained and the exit status is 1"
    parser.add_argument("--max-bad", **FRACTION, default=defaults.MAX_BAD, help=text)


def add_training_options(parser: argparse._ActionsContainer) -> None:
    """Add --batch-size and --balanced."""
    parser.add_argument("--batch-size", **COUNT, default=defaults.HEAD_BATCH, help="images per training step")
    text = "weight classes inversely to their frequency (heads that support it)"
    parser.add_argument("--balanced", action="store_true", help=text)


def add_dense_options(dense: argparse._ArgumentGroup, prefix: str = "") -> None:
    """Add --epochs and --learning-rate, each with a prefix, --units and --dropout of the dense head."""
    rate, units = defaults.LEARNING_RATE, ",".join(map(str, defaults.UNITS))
    dense.add_argument(f"--{prefix}epochs", **COUNT, default=defaults.EPOCHS, help="number of epochs")
    dense.add_argument(f"--{prefix}learning-rate", **NUMBER, default=rate, help="learning rate of Adam")
    dense.add_argument("--units", type=counts, default=units, metavar="N,N", help="sizes of the hidden layers")
    text = "fraction of activations dropped after each hidden layer"
    dense.add_argument("--dropout", **FRACTION, default=defaults.DROPOUT, help=text)
