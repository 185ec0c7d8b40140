"""`ConvBaseSpec`: everything that changes a feature's value, and the fingerprint of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from pipeline.errors import SpecError
from pipeline.files.durable import canonical_json, sha256_of
from pipeline.images.augment import View
from pipeline.images.resize import RESIZES

FORMAT = 1  # of the features; raised when the same spec comes to mean other values
PREPROCESSINGS = ("own", "rescale", "tf", "torch", "caffe", "none")
WEIGHTS_WORDS = ("imagenet", "random")  # anything else is a file
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
STORE_DTYPES = ("float16", "float32")


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

    conv_base: str = "vgg16"
    conv_base_args: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "imagenet"
    size: int | tuple[int, int] = 150
    cut: str | None = None
    preprocessing: str = "own"
    resize: str = "bilinear"
    precision: str = "auto"
    store_dtype: str = "float16"
    view: View | None = None
    decoder: str | None = None
    conv_base_sha256: str | None = None
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("preprocessing", self.preprocessing, PREPROCESSINGS),
            ("resize", self.resize, RESIZES),
            ("precision", self.precision, PRECISIONS),
            ("store_dtype", self.store_dtype, STORE_DTYPES),
        ):
            if value not in choices:
                raise SpecError(f"{name} {value!r} is not one of {', '.join(choices)}")
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
