"""Options that several verbs share; options of `features` come from the fields of `ConvBaseSpec`."""

from __future__ import annotations

import argparse
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

from pipeline import defaults
from pipeline.cli.option_types import count, fraction, key_value, size, units

if TYPE_CHECKING:
    from pipeline.conv_base.spec import ConvBaseSpec

Options = argparse.ArgumentParser | argparse._ArgumentGroup


def add_spec_options(parser: Options, **other_defaults: Any) -> None:
    """Add one option for each field of `ConvBaseSpec` that has a help text.

    Parameters
    ----------
    parser : ArgumentParser or argument group
    **other_defaults
        Defaults that differ from those of `ConvBaseSpec`, by the name of the field.
    """
    for field in _spec_settings():
        about: dict[str, Any] = dict(field.metadata)
        if field.name == "conv_base_args":
            parser.add_argument(
                "--conv-base-arg", dest=field.name, action="append", type=key_value, default=[], **about
            )
            continue
        about["default"] = other_defaults.get(field.name, field.default)
        about["type"] = size if field.name == "size" else str
        parser.add_argument(f"--{field.name.replace('_', '-')}", **about)


def spec_from_options(options: argparse.Namespace) -> ConvBaseSpec:
    """Return the spec that the options of `add_spec_options` describe."""
    from pipeline.conv_base.spec import ConvBaseSpec

    values = {field.name: getattr(options, field.name) for field in _spec_settings()}
    return ConvBaseSpec(**{**values, "conv_base_args": dict(options.conv_base_args)})


def _spec_settings() -> list[Field[Any]]:
    from pipeline.conv_base.spec import ConvBaseSpec

    return [field for field in fields(ConvBaseSpec) if "help" in field.metadata]


def add_speed_options(parser: argparse.ArgumentParser) -> None:
    """Add --batch-size and --workers of the forward passes."""
    speed = parser.add_argument_group("speed")
    speed.add_argument(
        "--batch-size",
        type=count,
        default=defaults.EXTRACT_BATCH,
        metavar="N",
        help="images per forward pass; changes no value",
    )
    speed.add_argument("--workers", type=count, metavar="N", help="threads that decode images (default: one per core)")


def add_max_bad(parser: Options) -> None:
    """Add --max-bad."""
    parser.add_argument(
        "--max-bad",
        type=fraction,
        default=defaults.MAX_BAD,
        metavar="F",
        help="largest fraction of images without features; above it the exit status is 1",
    )


def add_hidden_layers(parser: Options) -> None:
    """Add --units and --dropout of the dense head."""
    parser.add_argument(
        "--units",
        type=units,
        default=",".join(map(str, defaults.UNITS)),
        metavar="N,N",
        help="sizes of the hidden layers",
    )
    parser.add_argument(
        "--dropout",
        type=fraction,
        default=defaults.DROPOUT,
        metavar="F",
        help="fraction of activations dropped after each hidden layer",
    )
