"""Every verb and option of the command line, explained; nothing heavy is imported here."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline import defaults
from pipeline.heads import head_names
from pipeline.spec import PRECISIONS, PREPROCESSINGS, RESIZES, STORE_DTYPES, ConvBaseSpec

EXAMPLES = """examples:
  python -m pipeline features photos --cache cache/photos
  python -m pipeline features photos --cache cache/m --conv-base mobilenet_v2 --conv-base-arg alpha=0.35 --size 224
  python -m pipeline heads cache/photos --heads dense,logistic
  python -m pipeline info cache/photos
"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows a default where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.default is None or action.default is False or action.default in ([], argparse.SUPPRESS):
            return text
        return f"{text} (default: %(default)s)"


def parser() -> argparse.ArgumentParser:
    """The parser of `python -m pipeline`."""
    top = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="Run a frozen conv base once over every image, keep its features, train heads on them in seconds.",
        epilog=EXAMPLES,
        formatter_class=_Help,
    )
    top.add_argument("--version", action="version", version=_version())
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, fill, text in (
        ("features", _features, "stage one: fill or update the store at --cache"),
        ("heads", _heads, "stage two: train heads on a store, score and save them, print a leaderboard"),
        ("verify", _verify, "is every row what it claims to be? Names, sizes, fingerprints; more with the options"),
        ("repair", _repair, "put bad shards into quarantine and compute only those again"),
        ("info", _info, "what a store holds"),
        ("pack", _pack, "all features of a store as one HDF5 file"),
    ):
        verb = verbs.add_parser(name, help=text, description=text, formatter_class=_Help)
        fill(verb)
        verb.add_argument("-v", "--verbose", action="store_true", help="log what is done and why")
    return top


def _features(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "images",
        metavar="IMAGES",
        help="folder of class folders (also below train/, validation/, "
        "test/), flat folder of cat.17.jpg, or CSV file with path,label[,split,group]",
    )
    verb.add_argument("--cache", required=True, metavar="DIR", help="the store; made if it does not exist")

    base = verb.add_argument_group("conv base")
    base.add_argument(
        "--conv-base",
        default=ConvBaseSpec.conv_base,
        metavar="NAME",
        help="a model of keras.applications in snake case, or a .keras file",
    )
    base.add_argument(
        "--conv-base-arg",
        action="append",
        type=_key_value,
        default=[],
        metavar="KEY=VALUE",
        help="argument of the conv base itself, such as alpha=0.35; may be given again",
    )
    base.add_argument(
        "--weights", default=ConvBaseSpec.weights, metavar="{imagenet,random,FILE}", help="a .keras file brings its own"
    )
    base.add_argument(
        "--allow-random-weights",
        action="store_true",
        help="go on with random weights where the ImageNet weights cannot be downloaded; "
        "for trying the pipeline, not for results",
    )
    base.add_argument("--size", type=_size, default=ConvBaseSpec.size, metavar="N|HxW", help="input size in pixels")
    base.add_argument("--cut", metavar="LAYER", help="layer whose output is kept (default: the last one)")
    base.add_argument(
        "--preprocessing",
        choices=PREPROCESSINGS,
        default=ConvBaseSpec.preprocessing,
        help="own: the conv base's preprocess_input; rescale: divide by 255; tf, torch, caffe: the modes "
        "of Keras; none: RGB in 0..255",
    )
    base.add_argument(
        "--resize", choices=RESIZES, default=ConvBaseSpec.resize, help="how images are brought to the input size"
    )
    base.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=ConvBaseSpec.precision,
        help="what the conv base computes in; auto measures once, when the store is made",
    )

    store = verb.add_argument_group("store")
    store.add_argument(
        "--store-dtype", choices=STORE_DTYPES, default=ConvBaseSpec.store_dtype, help="what features are kept in"
    )
    store.add_argument("--compression", choices=("none", "gzip"), default="none", help="of a new store")
    store.add_argument("--rebuild", action="store_true", help="drop what the store holds and compute all of it again")

    images = verb.add_argument_group("images")
    images.add_argument(
        "--validation",
        type=_fraction,
        default=defaults.VALIDATION,
        metavar="F",
        help="fraction for validation where no split is given",
    )
    images.add_argument("--test", type=_fraction, default=defaults.TEST, metavar="F", help="fraction for testing")
    images.add_argument(
        "--max-bad",
        type=_fraction,
        default=defaults.MAX_BAD,
        metavar="F",
        help="largest fraction of images that may be unusable before the exit status is 1",
    )

    _batches(verb)


def _batches(verb: argparse.ArgumentParser) -> None:
    speed = verb.add_argument_group("speed")
    speed.add_argument(
        "--batch-size",
        type=_count,
        default=defaults.EXTRACT_BATCH,
        metavar="N",
        help="images a forward pass; changes no value",
    )
    speed.add_argument("--workers", type=_count, metavar="N", help="threads that decode (default: one a core)")


def _heads(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument(
        "--heads", type=_names, default=",".join(head_names()), metavar="NAME,NAME", help="which heads to train"
    )
    verb.add_argument(
        "--set",
        action="append",
        type=_head_key_value,
        default=[],
        metavar="HEAD.KEY=VALUE",
        dest="settings",
        help="a parameter of one head, such as logistic.C=0.1; may be given again",
    )
    verb.add_argument("--balanced", action="store_true", help="weight classes by their rarity, in heads that can")
    verb.add_argument(
        "--max-bad",
        type=_fraction,
        default=defaults.MAX_BAD,
        metavar="F",
        help="largest fraction of images without features",
    )

    dense = verb.add_argument_group("the dense head")
    dense.add_argument("--epochs", type=_count, default=defaults.EPOCHS, metavar="N", help="passes over the images")
    dense.add_argument("--batch-size", type=_count, default=defaults.HEAD_BATCH, metavar="N", help="images a step")
    dense.add_argument(
        "--units",
        type=_units,
        default=",".join(map(str, defaults.UNITS)),
        metavar="N,N",
        help="sizes of the hidden layers",
    )
    dense.add_argument(
        "--dropout",
        type=_fraction,
        default=defaults.DROPOUT,
        metavar="F",
        help="fraction dropped after each hidden layer",
    )
    dense.add_argument("--learning-rate", type=float, default=defaults.LEARNING_RATE, metavar="F", help="of Adam")
    dense.add_argument(
        "--early-stopping",
        type=_count,
        metavar="N",
        help="stop after N epochs without a better validation loss and keep the best weights",
    )


def _verify(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument("--full", action="store_true", help="read every byte")
    verb.add_argument(
        "--recompute",
        type=_count,
        default=0,
        metavar="N",
        help="put N random rows through the conv base again",
    )
    verb.add_argument("--sources", action="store_true", help="read every image: is it still the one in the index?")


def _repair(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    _batches(verb)


def _pack(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument("file", metavar="FILE.h5", help="replaced if it exists")


def _info(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("store", metavar="DIR", help="a store that `features` filled")
    verb.add_argument("--json", action="store_true", help="all of it as one JSON document")


def _version() -> str:
    try:
        return version("cached-feature-pipeline")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "not installed"


def _key_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key.strip(), _value(value)


def _head_key_value(text: str) -> tuple[str, str, Any]:
    key, value = _key_value(text)
    head, dot, name = key.partition(".")
    if not (head and dot and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEAD.KEY=VALUE")
    return head, name, value


def _value(text: str) -> Any:
    """A number, true, false, null, a quoted string or a list as JSON has it; anything else is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _size(text: str) -> int | tuple[int, int]:
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels, nor HEIGHTxWIDTH")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction from 0 to 1")
    return value


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _units(text: str) -> tuple[int, ...]:
    return tuple(_count(part.strip()) for part in text.split(",") if part.strip())


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("no names")
    return list(dict.fromkeys(names))
