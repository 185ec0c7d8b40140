"""The specs of `compare`: each conv base in each size and precision, with settings of its own."""

from __future__ import annotations

import argparse
import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.option_types import key_value, names, size
from pipeline.errors import SpecError
from pipeline.text import COMMAND

if TYPE_CHECKING:
    from pipeline.comparison.candidate import RefusedSpec
    from pipeline.conv_base.spec import ConvBaseSpec

PRECISIONS = ("float32", "bfloat16", "float16", "int8")  # not auto, which would compare it knows not what
OF_ONE = "; NAME=VALUE, NAME as in --conv-base, gives it to this conv base alone, and can be repeated"


def add_product_options(parser: argparse._ArgumentGroup) -> None:
    """Add --conv-base, --size, --precision and an option for each other setting of a spec."""
    text = "conv bases as for `features`: names, or paths of files and directories"
    parser.add_argument("--conv-base", type=names, required=True, metavar="NAME,NAME", help=text)
    parser.add_argument("--size", type=_sizes, default="150", metavar="N|HxW,...", help="input sizes in pixels")
    text = f"number formats, of {', '.join(PRECISIONS)}"
    parser.add_argument("--precision", type=_precisions, default="float32", metavar="NAME,NAME", help=text)
    text = "argument of the model's function; mobilenet_v2.alpha=0.35 is for one conv base alone; can be repeated"
    option: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--conv-base-arg", dest="conv_base_args", metavar="[NAME.]KEY=VALUE", help=text, **option)
    for field in _other_settings():
        metavar = field.metadata.get("metavar") or "{" + ",".join(field.metadata["choices"]) + "}"
        text = f"{field.metadata['help']}{OF_ONE}"
        parser.add_argument(f"--{field.name.replace('_', '-')}", metavar=metavar, help=text, **option)


def specs_from_options(options: argparse.Namespace) -> list[ConvBaseSpec | RefusedSpec]:
    """Return the specs that the options of `add_product_options` describe.

    SpecError names an option that is wrong, or says why none of the combinations is possible.
    """
    from pipeline.comparison.candidate import RefusedSpec

    settings: dict[str, dict[str, Any]] = {name: {"conv_base_args": {}} for name in options.conv_base}
    for field in _other_settings():
        for text in getattr(options, field.name):
            for name, value in _assign(field.name, text, options.conv_base):
                settings[name][field.name] = value
    for text in options.conv_base_args:
        for name, key, value in _assign_argument(text, options.conv_base):
            settings[name]["conv_base_args"][key] = value
    product = itertools.product(options.conv_base, options.size, options.precision)
    specs = [_make_spec(*combination, settings[combination[0]]) for combination in product]
    if all(isinstance(spec, RefusedSpec) for spec in specs):
        raise SpecError("; ".join(dict.fromkeys(spec.problem for spec in specs if isinstance(spec, RefusedSpec))))
    return specs


def _make_spec(
    name: str, height_width: int | tuple[int, int], precision: str, settings: Mapping[str, Any]
) -> ConvBaseSpec | RefusedSpec:
    from pipeline.comparison.candidate import RefusedSpec
    from pipeline.conv_base.spec import ConvBaseSpec

    try:
        return ConvBaseSpec(name, size=height_width, precision=precision, **settings)
    except SpecError as error:
        words = "x".join(map(str, height_width)) if isinstance(height_width, tuple) else str(height_width)
        return RefusedSpec(Path(name).name, words, precision, str(error))


def check_conv_bases_exist(conv_bases: Sequence[str]) -> None:
    """Raise SpecError if there is no such network, file or directory."""
    from pipeline.conv_base.spec import find_kind
    from pipeline.conv_base.zoo import find_zoo_model

    for conv_base in conv_bases:
        if find_kind(conv_base) == "zoo":
            find_zoo_model(conv_base)
        elif not Path(conv_base).exists():
            raise SpecError(f"conv base {conv_base} does not exist; give the path of a file or a directory")


def features_command(options: argparse.Namespace, spec: ConvBaseSpec, store: Path) -> str:
    """Return the `features` command that fills the store of a spec with all images."""
    height, width = spec.height_width
    words = ["features", options.images, "--cache", str(store), "--conv-base", spec.conv_base]
    words += ["--size", str(height) if height == width else f"{height}x{width}", "--precision", spec.precision]
    for key, value in spec.conv_base_args.items():
        words += ["--conv-base-arg", f"{key}={value}"]
    for field in _other_settings():
        if (value := getattr(spec, field.name)) != field.default:
            words += [f"--{field.name.replace('_', '-')}", str(value)]
    for name in ("validation", "test"):
        words += [f"--{name}", str(getattr(options, name))]
    return f"{COMMAND} {shlex.join(words)}"


def _other_settings() -> list[Field[Any]]:
    from pipeline.conv_base.spec import ConvBaseSpec

    own = ("conv_base", "conv_base_args", "size", "precision")
    return [field for field in fields(ConvBaseSpec) if "help" in field.metadata and field.name not in own]


def _sizes(text: str) -> list[int | tuple[int, int]]:
    return [size(word) for word in names(text)]


def _precisions(text: str) -> list[str]:
    for word in names(text):
        if word not in PRECISIONS:
            raise argparse.ArgumentTypeError(f"{word!r} is not one of {', '.join(PRECISIONS)}")
    return names(text)


def _assign(setting: str, text: str, conv_bases: Sequence[str]) -> list[tuple[str, str]]:
    """Return whom a setting is for: one conv base, or all of Keras' own if no name stands before the value.

    A conv base that is a file has weights of its own, so a value for all is not one for it if it is of weights.
    """
    key, equals, value = text.partition("=")
    if equals and (named := _named(key, conv_bases)):
        return [(name, value) for name in named]
    if equals and not Path(text).exists():
        option = f"--{setting.replace('_', '-')}"
        raise SpecError(f"{option} {text}: {key!r} is none of the conv bases {', '.join(conv_bases)}")
    return [(name, text) for name in conv_bases if setting != "weights" or name.isidentifier()]


def _assign_argument(text: str, conv_bases: Sequence[str]) -> list[tuple[str, str, Any]]:
    try:
        key, value = key_value(text)
    except argparse.ArgumentTypeError:
        raise SpecError(f"--conv-base-arg {text} is not [NAME.]KEY=VALUE") from None
    prefix, dot, name = key.rpartition(".")
    named = _named(prefix, conv_bases) if dot else list(conv_bases)
    if not named:
        raise SpecError(f"--conv-base-arg {text}: {prefix!r} is none of the conv bases {', '.join(conv_bases)}")
    return [(conv_base, name if dot else key, value) for conv_base in named]


def _named(name: str, conv_bases: Sequence[str]) -> list[str]:
    """Return the conv bases with this name: the name as given, or of a file its name with or without the folders."""
    return [conv_base for conv_base in conv_bases if name in (conv_base, Path(conv_base).name)]
