"""Views: view 0 of an image is the image itself, views 1, 2, ... are augmented copies of it.

A copy is a pure function of the image's content, the view's number and the settings. Its random
numbers are SHAKE-256 of these, so they depend neither on order, batch, thread or machine, nor on the
version of a library's random generator.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from pipeline.errors import SpecError
from pipeline.files.durable import canonical_json

METHOD = "affine-1"  # part of a view's fingerprint; raised whenever any pixel would change


@dataclass(frozen=True)
class Augmentation:
    """Settings of the augmented copies; each random number is drawn uniformly from its range.

    The defaults are the recipe of F. Chollet, "Building powerful image classification models using
    very little data" (2016), with the rotation of his book (2017).

    Parameters
    ----------
    rotation : float
        Largest rotation in degrees, in either direction; 0 to 180.
    width_shift, height_shift : float
        Largest shift in either direction, as a fraction of the width or height; 0 to 1.
    shear : float
        Largest shear in degrees, in either direction; 0 to 80. The recipe's 0.2 are radians, the unit of
        Keras until 2018; `shear_range=0.2` of a later Keras is 0.2 degrees, which is invisible.
    zoom : float
        Height and width are scaled by two independent factors from 1 - zoom to 1 + zoom; 0 to 0.9.
    horizontal_flip : bool
        Whether half of the copies are mirrored.
    brightness : float
        Values are multiplied by a factor from 1 - brightness to 1 + brightness and clipped; 0 to 1.
    seed : int
        Seed of the random numbers.

    Raises
    ------
    SpecError
        A value is out of range.
    """

    rotation: float = field(default=40.0, metadata={"help": "largest rotation in degrees, 0 to 180"})
    width_shift: float = field(default=0.2, metadata={"help": "largest shift as a fraction of the width, 0 to 1"})
    height_shift: float = field(default=0.2, metadata={"help": "largest shift as a fraction of the height, 0 to 1"})
    shear: float = field(default=11.5, metadata={"help": "largest shear in degrees, 0 to 80"})
    zoom: float = field(default=0.2, metadata={"help": "largest relative change of height and width, 0 to 0.9"})
    horizontal_flip: bool = field(default=True, metadata={"help": "whether half of the copies are mirrored"})
    brightness: float = field(default=0.0, metadata={"help": "largest relative change of brightness, 0 to 1"})
    seed: int = field(default=0, metadata={"help": "seed of the random copies", "metavar": "N"})

    def __post_init__(self) -> None:
        for name, maximum in MAX.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= maximum:
                raise SpecError(f"augmentation {name} {value!r} is not a number from 0 to {maximum}")
            object.__setattr__(self, name, float(value))  # 40 and 40.0 are the same settings
        if not isinstance(self.horizontal_flip, bool):
            raise SpecError(f"augmentation horizontal_flip {self.horizontal_flip!r} is neither true nor false")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise SpecError(f"augmentation seed {self.seed!r} is not a whole number")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Augmentation:
        """Return the augmentation with the given settings; the others have their defaults."""
        names = [setting.name for setting in fields(cls)]
        for name in settings:
            if name not in names:
                raise SpecError(f"augmentation has no setting {name!r}; it has {', '.join(names)}")
        return cls(**settings)

    def __str__(self) -> str:
        parts = [f"{name.replace('_', ' ')} {getattr(self, name):g}" for name in MAX if getattr(self, name)]
        parts += ["horizontal flip"] if self.horizontal_flip else []
        return ", ".join([*parts, f"seed {self.seed}"])


MAX = {"rotation": 180, "width_shift": 1, "height_shift": 1, "shear": 80, "zoom": 0.9, "brightness": 1}


@dataclass(frozen=True)
class View:
    """One augmented copy of every image."""

    number: int  # 1 or more; 0 stands for the images themselves
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        if isinstance(self.number, bool) or not isinstance(self.number, int) or self.number < 1:
            raise SpecError(f"view {self.number!r} is not a whole number of 1 or more")

    def identity(self) -> dict[str, Any]:
        """Return all that the copies depend on besides the images, as values for canonical JSON."""
        return {"number": self.number, "method": METHOD, **asdict(self.augmentation)}

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> View:
        """Return the view that has an `identity`; raise SpecError if this version has no such view."""
        settings = {name: value for name, value in identity.items() if name not in ("number", "method")}
        if identity.get("method") != METHOD:
            raise SpecError(f"the view was made by method {identity.get('method')!r}; this version has only {METHOD}")
        return cls(identity.get("number", 0), Augmentation.from_settings(settings))


def augment(pixels: np.ndarray, content: bytes, view: View) -> np.ndarray:
    """Return the augmented copy of an image; both are (height, width, 3), float32, RGB in 0..255.

    `content` is the sha256 of the image's file. Rotation, shift, shear and zoom are one affine map about the centre
    and one bilinear interpolation, as in `apply_affine_transform` of `keras.preprocessing.image`; beyond the edge the
    nearest pixel is repeated. Most of the time is spent without the interpreter's lock.
    """
    from scipy.ndimage import affine_transform

    ranges = view.augmentation
    numbers = draw_numbers(content, view)
    matrix, offset = affine_map(pixels.shape[:2], ranges, numbers)
    copy = np.empty_like(pixels)
    for channel in range(pixels.shape[2]):  # a transform of the whole volume is half as fast
        affine_transform(
            pixels[:, :, channel], matrix, offset, output=copy[:, :, channel], order=1, mode="nearest", prefilter=False
        )
    if ranges.horizontal_flip and numbers["horizontal_flip"] < 0:
        copy = np.ascontiguousarray(copy[:, ::-1])
    if ranges.brightness:
        factor = np.float32(1 + numbers["brightness"] * ranges.brightness)
        np.clip(copy * factor, 0, 255, out=copy)
    return copy


def affine_map(
    size: tuple[int, ...], ranges: Augmentation, numbers: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the map from a pixel (row, column) of the copy to the point of the image that it shows.

    The point is `matrix @ pixel + offset`, with shapes (2, 2) and (2,). `numbers` has a number in [-1, 1)
    for each name in `DRAWN`; it is multiplied with its range.
    """
    angle = math.radians(numbers["rotation"] * ranges.rotation)
    slant = math.radians(numbers["shear"] * ranges.shear)
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    shear = np.array([[math.cos(slant), 0.0], [-math.sin(slant), 1.0]])
    zoom = np.diag([1 + numbers["zoom_height"] * ranges.zoom, 1 + numbers["zoom_width"] * ranges.zoom])
    shift = numbers["height_shift"] * ranges.height_shift, numbers["width_shift"] * ranges.width_shift
    matrix = rotation @ shear @ zoom
    centre = (np.array(size) - 1) / 2
    return matrix, centre + rotation @ (np.array(shift) * size) - matrix @ centre


DRAWN = (
    "rotation", "width_shift", "height_shift", "shear", "zoom_height", "zoom_width", "horizontal_flip", "brightness"
)  # fmt: skip


def draw_numbers(content: bytes, view: View) -> dict[str, float]:
    """Return a number in [-1, 1) for each name in `DRAWN`, which content and view determine."""
    key = canonical_json(view.identity()).encode() + b"\0" + content
    digest = hashlib.shake_256(key).digest(8 * len(DRAWN))
    words = np.frombuffer(digest, ">u8") >> np.uint64(11)  # 53 bits, the precision of a float
    return dict(zip(DRAWN, (words / 2.0**52 - 1).tolist(), strict=True))
