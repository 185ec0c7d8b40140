"""`ConvBaseSpec`: everything that changes a feature's value, and the fingerprint of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, cast

from pipeline.errors import SpecError
from pipeline.files.durable import canonical_json, sha256_of
from pipeline.images.augment import View
from pipeline.images.resize import RESIZES

FORMAT = 1  # of the features; raised when the same spec comes to mean other values
WEIGHTS_WORDS = ("imagenet", "random")  # anything else is a file


class Difference(NamedTuple):
    """A field in which two specs differ."""

    field: str
    stored: object
    asked: object

    def __str__(self) -> str:
        return f"{self.field}: {_show(self.stored)} in the store, {_show(self.asked)} asked for"


@dataclass(frozen=True)
class ConvBaseSpec:
    """A frozen conv base and how images reach it.

    Parameters
    ----------
    conv_base : str
        A model of `keras.applications` in snake case (`vgg16`, `mobilenet_v2`), or the path of a
        `.keras` file.
    conv_base_args : mapping
        Arguments of the conv base's own function, `{"alpha": 0.35}`.
    weights : str
        `imagenet`, `random` (seeded), or the path of a weights file without the top. A `.keras`
        file brings its own weights and takes `imagenet` to mean them.
    size : int or (int, int)
        Height and width of the input in pixels.
    cut : str, optional
        The layer whose output is the feature; the conv base's last one if not given. `top1` is the
        input of the conv base's uppermost block, `top2` that of the one below, and so on: a loaded
        conv base has the layer's name in place of it.
    preprocessing : {"own", "rescale", "tf", "torch", "caffe", "none"}
        `own` is the conv base's `preprocess_input`; `rescale` divides by 255; `tf`, `torch` and
        `caffe` are the modes of Keras; `none` hands on RGB in 0..255.
    resize : {"bilinear", "antialias"}
    precision : {"auto", "float32", "bfloat16", "float16"}
        What the conv base computes in; `auto` is settled when a store is born.
    store_dtype : {"float16", "float32"}
    view : View, optional
        The augmented copies of the images that go through the conv base; the images themselves if
        not given.
    decoder, conv_base_sha256, weights_sha256 : str, optional
        Filled in when the conv base is loaded; see `is_resolved`.

    Raises
    ------
    SpecError
        A value out of range.
    """

    conv_base: str = field(
        default="vgg16",
        metadata={"help": "a model of keras.applications in snake case, or a .keras file", "metavar": "NAME"},
    )
    conv_base_args: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "argument of the conv base's own function, such as alpha=0.35; can be repeated",
            "metavar": "KEY=VALUE",
        },
    )
    weights: str = field(
        default="imagenet",
        metadata={
            "help": "ImageNet weights, seeded random weights, or a weights file without the top; a .keras file "
            "contains its weights",
            "metavar": "{imagenet,random,FILE}",
        },
    )
    size: int | tuple[int, int] = field(default=150, metadata={"help": "input size in pixels", "metavar": "N|HxW"})
    cut: str | None = field(
        default=None,
        metadata={
            "help": "layer whose output is stored (default: the last layer); top1 stores the input of the uppermost "
            "block, for `finetune`; top2 stores the input of the block below it",
            "metavar": "LAYER|topN",
        },
    )
    preprocessing: str = field(
        default="own",
        metadata={
            "help": "own: the conv base's preprocess_input; rescale: divide by 255; tf, torch, caffe: the modes of "
            "Keras; none: RGB in 0..255",
            "choices": ("own", "rescale", "tf", "torch", "caffe", "none"),
        },
    )
    resize: str = field(
        default="bilinear", metadata={"help": "how images are resized to the input size", "choices": RESIZES}
    )
    precision: str = field(
        default="auto",
        metadata={
            "help": "number format in which the conv base computes; auto measures the speeds once, when the store is "
            "created",
            "choices": ("auto", "float32", "bfloat16", "float16"),
        },
    )
    store_dtype: str = field(
        default="float16", metadata={"help": "number format of the stored features", "choices": ("float16", "float32")}
    )
    view: View | None = None
    decoder: str | None = None
    conv_base_sha256: str | None = None
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise SpecError(f"{name} {getattr(self, name)!r} is not one of {', '.join(choices)}")
        try:
            canonical_json(dict(self.conv_base_args))
        except (TypeError, ValueError):
            raise SpecError(f"conv_base_args {self.conv_base_args!r} are not all numbers or strings") from None
        object.__setattr__(self, "size", _height_and_width(self.size))
        object.__setattr__(self, "conv_base_args", dict(self.conv_base_args))

    @property
    def height_width(self) -> tuple[int, int]:
        """The input size in pixels."""
        return cast(tuple[int, int], self.size)  # __post_init__ made it a pair

    @property
    def is_file(self) -> bool:
        """Whether the conv base is a user's own `.keras` file."""
        return self.conv_base.endswith(".keras")

    @property
    def is_resolved(self) -> bool:
        """Whether every field that changes a value is known."""
        return bool(self.weights_sha256 and self.decoder and self.precision != "auto")

    def identity(self) -> dict[str, Any]:
        """What the features depend on, and nothing else: no paths, no library versions.

        Weights count by their sha256: the same numbers from another file are the same weights.
        A field that is not known yet is None. There is no `view` where it is None: a store that
        was made before there were views is the same store.
        """
        return {
            "format": FORMAT,
            "conv_base": "file" if self.is_file else self.conv_base,
            "conv_base_args": dict(self.conv_base_args),
            "conv_base_sha256": self.conv_base_sha256,
            "weights_sha256": self.weights_sha256,
            "size": list(self.height_width),
            "cut": self.cut,
            "preprocessing": self.preprocessing,
            "resize": self.resize,
            "decoder": self.decoder,
            "precision": None if self.precision == "auto" else self.precision,
            "store_dtype": self.store_dtype,
            **({"view": self.view.identity()} if self.view else {}),
        }

    @property
    def fingerprint(self) -> str:
        """The sha256 of `identity`, 64 hexadecimal digits; only of a resolved spec."""
        if not self.is_resolved:
            raise SpecError("a spec has a fingerprint only once its conv base was loaded")
        return sha256_of(canonical_json(self.identity()).encode())


CHOICES = {field.name: field.metadata["choices"] for field in fields(ConvBaseSpec) if "choices" in field.metadata}
PREPROCESSINGS, _, PRECISIONS, STORE_DTYPES = CHOICES.values()


def compare(stored: Mapping[str, Any], asked: Mapping[str, Any], *, settled: bool = True) -> list[Difference]:
    """The fields in which two identities differ.

    With `settled=False`, a None in `asked` stands for a value that is not known yet and differs
    from nothing; `cut` is left out too, as only the loaded conv base tells whether a layer is the
    last one. Settings of two views are compared one by one, as `view.seed`.
    """
    if stored.get("view") and asked.get("view"):
        stored, asked = _with_view_apart(stored), _with_view_apart(asked)
    unknown = set() if settled else {"cut", *(name for name in {**asked, **stored} if asked.get(name) is None)}
    fields = [name for name in {**asked, **stored} if name == "view" or name not in unknown]
    missing = object()
    return [
        Difference(name, stored.get(name), asked.get(name))
        for name in fields
        if stored.get(name, missing) != asked.get(name, missing)
    ]


def _with_view_apart(identity: Mapping[str, Any]) -> dict[str, Any]:
    settings = {f"view.{name}": value for name, value in identity["view"].items()}
    return {**{name: value for name, value in identity.items() if name != "view"}, **settings}


def _height_and_width(size: object) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 10_000 for n in pair):
        raise SpecError(f"size {size!r} is not a number of pixels, or height and width of 1 to 10000")
    return pair


def _show(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
