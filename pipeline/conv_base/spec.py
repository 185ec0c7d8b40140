"""`ConvBaseSpec`: every setting that changes the values of features, and its fingerprint."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np

from pipeline.conv_base.fingerprint import OMITTED, hash_identity
from pipeline.errors import SpecError
from pipeline.files.durable import canonical_json
from pipeline.images.augment import View
from pipeline.images.decode import Size, decode_image
from pipeline.images.resize import RESIZES

FORMAT = 1  # raised when the same spec gives other features than before
WEIGHTS_WORDS = ("imagenet", "random")  # any other value is the path of a file


def find_kind(conv_base: str) -> str:
    """Return `zoo` for the name of a network, else what a path leads to: `file` (`.keras`), `onnx` or `directory`.

    The path of a directory contains a slash.
    """
    for suffix, kind in ((".keras", "file"), (".onnx", "onnx")):
        if conv_base.endswith(suffix):
            return kind
    return "directory" if {"/", os.sep} & set(conv_base) else "zoo"


def _setting(default: Any, help: str, **metadata: Any) -> Any:
    """Return a field of a spec; the command line makes an option from its help text and its metavar or choices."""
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True)
class ConvBaseSpec:
    """The settings of a frozen conv base and of the images that it takes.

    Parameters
    ----------
    conv_base : str
        A model of `keras.applications` in snake case (`vgg16`, `mobilenet_v2`), one of `lenet5`,
        `alexnet`, `zfnet` and `googlenet`, or the path of a `.keras` or `.onnx` file, or that of a
        directory for keras-hub, which contains a slash: `./dinov2-small/`.
    conv_base_args : mapping
        Arguments of the model's function, such as `{"alpha": 0.35}`.
    weights : str
        `imagenet`, `random` (seeded), or the path of a weights file without the classifier. For a
        path as the conv base, which contains its weights, it must be `imagenet`.
    size : int or (int, int)
        Height and width of the input in pixels.
    cut : str, optional
        The name of the layer whose output is stored as features; by default, the last layer. `top1`
        stands for the input of the conv base's uppermost block, `top2` for the input of the block
        below it, and so on; loading the conv base replaces it by the layer's name. `cls` stands for the
        class token of a transformer. For an `.onnx` file, the name of a tensor.
    preprocessing : {"own", "rescale", "tf", "torch", "caffe", "none"}
        `own` is the conv base's `preprocess_input`, the one that a `.keras` file of `train_conv_base` contains, or
        what a directory says; `rescale` divides by 255; `tf`, `torch` and `caffe` are the modes of Keras; `none`
        leaves RGB in 0..255.
    resize : {"bilinear", "antialias"}
        How images are resized to `size`; `antialias` averages over all pixels of a larger image.
    decode : {"exact", "scaled"}
        How JPEGs are decoded; `scaled` decodes large ones at 1/2, 1/4 or 1/8, but to no less than twice `size`.
    precision : {"auto", "float32", "bfloat16", "float16", "int8"}
        The number format in which the conv base computes; `auto` is decided when a store is created,
        among the floats. `int8` is a conv base quantised to 8-bit integers, a file of the store.
    store_dtype : {"float16", "float32"}
        The number format of the stored features.
    view : View, optional
        The augmented copies that the conv base takes instead of the images; by default, the images.
    decoder, conv_base_sha256, weights_sha256, int8_sha256 : str, optional
        The version of the image decoder, and the sha256 of the conv base's files, of the weights and of the
        quantised conv base. They are filled in when a conv base is loaded; see `is_resolved`.

    Raises
    ------
    SpecError
        A value is out of range.
    """

    conv_base: str = _setting(
        "vgg16",
        "a model of keras.applications in snake case, or lenet5, alexnet, zfnet or googlenet, or the path of a .keras "
        "or .onnx file, or of a directory, with a slash: ./dinov2-small/",
        metavar="NAME",
    )
    conv_base_args: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "argument of the model's function, such as alpha=0.35; can be repeated",
            "metavar": "KEY=VALUE",
        },
    )
    weights: str = _setting(
        "imagenet",
        "ImageNet weights, seeded random weights, or a weights file without the classifier; a conv base that is a path "
        "contains its weights",
        metavar="{imagenet,random,FILE}",
    )
    size: int | tuple[int, int] = _setting(150, "input size in pixels", metavar="N|HxW")
    cut: str | None = _setting(
        None,
        "layer whose output is stored (default: the last layer); top1 stores the input of the uppermost block, for "
        "`finetune`; top2 stores the input of the block below it; cls stores the class token of a transformer",
        metavar="LAYER|topN",
    )
    preprocessing: str = _setting(
        "own",
        "own: the conv base's preprocess_input, or what its directory says; rescale: divide by 255; tf, torch, caffe: "
        "the modes of Keras; none: RGB in 0..255",
        choices=("own", "rescale", "tf", "torch", "caffe", "none"),
    )
    resize: str = _setting("bilinear", "how images are resized to the input size", choices=RESIZES)
    decode: str = _setting(
        "exact",
        "exact: every image at its own size; scaled: large JPEGs at 1/2, 1/4 or 1/8, several times faster, but never "
        "below twice the input size",
        choices=("exact", "scaled"),
    )
    precision: str = _setting(
        "auto",
        "number format in which the conv base computes; auto measures the speeds of the floats once, when the store is "
        "created; int8 quantises the conv base, calibrated on train images",
        choices=("auto", "float32", "bfloat16", "float16", "int8"),
    )
    store_dtype: str = _setting("float16", "number format of the stored features", choices=("float16", "float32"))
    view: View | None = None
    decoder: str | None = None
    conv_base_sha256: str | None = None
    weights_sha256: str | None = None
    int8_sha256: str | None = None

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, choices = getattr(self, setting.name), setting.metadata.get("choices")
            if choices and value not in choices:
                raise SpecError(f"{setting.name} {value!r} is not one of {', '.join(choices)}")
        try:
            canonical_json(dict(self.conv_base_args))
        except (TypeError, ValueError):
            raise SpecError(f"conv_base_args {self.conv_base_args!r} are not all numbers or strings") from None
        pair = tuple(self.size) if isinstance(self.size, (tuple, list)) else (self.size, self.size)
        if len(pair) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 10_000 for n in pair):
            raise SpecError(f"size {self.size!r} is not a number of pixels, or height and width of 1 to 10000")
        if self.kind == "onnx" and self.precision not in ("auto", "float32"):
            raise SpecError(f"{self.conv_base}: an ONNX model computes in float32, not in {self.precision}")
        object.__setattr__(self, "size", pair)
        object.__setattr__(self, "conv_base_args", dict(self.conv_base_args))

    @property
    def height_width(self) -> tuple[int, int]:
        """The input size in pixels."""
        return cast(tuple[int, int], self.size)  # __post_init__ made it a pair

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """The shape of a decoded image, (height, width, 3)."""
        return (*self.height_width, 3)

    @property
    def name(self) -> str:
        """The name of the conv base for people: that of a network or directory, or of a file without its suffix."""
        path = Path(self.conv_base)
        return path.absolute().name if self.kind == "directory" else path.stem if self.is_path else self.conv_base

    @property
    def kind(self) -> str:
        """What `conv_base` is, see `find_kind`."""
        return find_kind(self.conv_base)

    @property
    def is_path(self) -> bool:
        """Whether `conv_base` is a path, and what is there contains the weights, too."""
        return self.kind != "zoo"

    @property
    def is_resolved(self) -> bool:
        """Whether every field that changes the values of features is known."""
        is_quantised = self.precision != "int8" or self.int8_sha256
        return bool(self.weights_sha256 and self.decoder and self.precision != "auto" and is_quantised)

    def identity(self) -> dict[str, Any]:
        """Return what the features depend on, without paths and library versions.

        Weights are identified by their sha256, so the file that they came from does not matter. A
        field that is not known yet is None. The fields in `OMITTED` are left out where they have the
        values given there, and `int8_sha256` where the precision is another one.
        """
        identity = {
            "format": FORMAT,
            "conv_base": self.kind if self.is_path else self.conv_base,
            "conv_base_args": dict(self.conv_base_args),
            "conv_base_sha256": self.conv_base_sha256,
            "weights_sha256": self.weights_sha256,
            "size": list(self.height_width),
            "cut": self.cut,
            "preprocessing": self.preprocessing,
            "resize": self.resize,
            "decode": self.decode,
            "decoder": self.decoder,
            "precision": None if self.precision == "auto" else self.precision,
            "store_dtype": self.store_dtype,
            **({"int8_sha256": self.int8_sha256} if self.precision == "int8" else {}),
            "view": self.view.identity() if self.view else None,
        }
        return {name: value for name, value in identity.items() if name not in OMITTED or value != OMITTED[name]}

    @property
    def fingerprint(self) -> str:
        """The sha256 of `identity`, 64 hexadecimal digits; the spec must be resolved."""
        if not self.is_resolved:
            raise SpecError("this spec has no fingerprint: load its conv base first, which fills in what is unknown")
        return hash_identity(self.identity())

    @property
    def decoded_at_least(self) -> tuple[int, int] | None:
        """The height and width to which images are at least decoded before they are resized; None for their own."""
        height, width = self.height_width
        return (2 * height, 2 * width) if self.decode == "scaled" else None

    def decode_image(self, data: bytes, size: Size | None = None) -> np.ndarray:
        """Decode an image file to RGB in 0..255 of the input size, or another one: (height, width, 3), float32."""
        return decode_image(data, size or self.height_width, self.resize, at_least=self.decoded_at_least)

    def decode_upright(self, data: bytes) -> np.ndarray:
        """Decode an image file without resizing it: RGB in 0..255, (height, width, 3), float32."""
        return self.decode_image(data, lambda height, width: (height, width))
