"""Views: view 0 of an image is the image itself, views 1, 2, ... are augmented copies of it.

What is done to an image is a pure function of (its content, the view's number, the settings): the
random numbers are SHAKE-256 of exactly these, so that neither order, batch, thread nor machine
matters, nor a library's random generator, whose numbers may change with its version.
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
    """How far an augmented copy may be from its image; each number is drawn evenly from its range.

    The defaults are the recipe of F. Chollet, "Building powerful image classification models using
    very little data" (2016), with the rotation of his book (2017).

    Parameters
    ----------
    rotation : float
        Degrees, from -rotation to rotation; 0 to 180.
    width_shift, height_shift : float
        Fractions of the width and height, to either side; 0 to 1.
    shear : float
        Degrees, to either side; 0 to 80. The recipe's 0.2 are radians, as Keras meant until 2018;
        `shear_range=0.2` of a later Keras is 0.2 degrees, which nobody sees.
    zoom : float
        Height and width are each scaled by a factor of their own from 1 - zoom to 1 + zoom; 0 to 0.9.
    horizontal_flip : bool
        Whether half of the copies are mirrored.
    brightness : float
        Values are multiplied by a factor from 1 - brightness to 1 + brightness and clipped; 0 to 1.
    seed : int
        Another seed, other copies.

    Raises
    ------
    SpecError
        A value out of range.
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
        for name, most in MAX.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise SpecError(f"augmentation {name} {value!r} is not a number from 0 to {most}")
            object.__setattr__(self, name, float(value))  # 40 and 40.0 are the same settings
        if not isinstance(self.horizontal_flip, bool):
            raise SpecError(f"augmentation horizontal_flip {self.horizontal_flip!r} is neither true nor false")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise SpecError(f"augmentation seed {self.seed!r} is not a whole number")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Augmentation:
        """From names and values; what is not named has its default.

        Raises
        ------
        SpecError
            There is no such setting, or its value is out of range.
        """
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
    """One augmented copy of every image.

    Parameters
    ----------
    number : int
        1 or more; 0 would be the images themselves.
    augmentation : Augmentation

    Raises
    ------
    SpecError
        A number below 1.
    """

    number: int
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        if isinstance(self.number, bool) or not isinstance(self.number, int) or self.number < 1:
            raise SpecError(f"view {self.number!r} is not a whole number of 1 or more")

    def identity(self) -> dict[str, Any]:
        """All that the copies depend on besides the images, fit for canonical JSON."""
        return {"number": self.number, "method": METHOD, **asdict(self.augmentation)}

    @classmethod
    def of(cls, identity: Mapping[str, Any]) -> View:
        """The view of an `identity`.

        Raises
        ------
        SpecError
            It is none, or of a method that this version does not have.
        """
        settings = {name: value for name, value in identity.items() if name not in ("number", "method")}
        if identity.get("method") != METHOD:
            raise SpecError(f"a view made by {identity.get('method')!r}; this version makes {METHOD}")
        return cls(identity.get("number", 0), Augmentation.of(settings))


def augment(pixels: np.ndarray, content: bytes, view: View) -> np.ndarray:
    """The augmented copy of an image.

    Rotation, shift, shear and zoom are one affine map about the centre and one interpolation, as
    in `apply_affine_transform` of `keras.preprocessing.image`: bilinear, and beyond the edge the
    nearest pixel. Most of the time is spent without the interpreter's lock.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), float32
        RGB in 0..255.
    content : bytes
        The sha256 of the image's file.
    view : View

    Returns
    -------
    ndarray of shape (height, width, 3), float32
    """
    from scipy.ndimage import affine_transform

    ranges = view.augmentation
    numbers = _draw(content, view)
    matrix, offset = affine_map(pixels.shape[:2], ranges, numbers)
    copy = np.empty_like(pixels)
    for channel in range(pixels.shape[2]):  # not as a volume: twice as slow
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
    """The map from a pixel (row, column) of the copy to the place in the image that it shows.

    Parameters
    ----------
    size : (int, int)
        Height and width.
    ranges : Augmentation
    numbers : mapping
        For each setting a number in [-1, 1), and `zoom_height`, `zoom_width`.

    Returns
    -------
    matrix : ndarray of shape (2, 2)
    offset : ndarray of shape (2,)
    """
    height, width = size
    angle = math.radians(numbers["rotation"] * ranges.rotation)
    slant = math.radians(numbers["shear"] * ranges.shear)
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    shear = np.array([[math.cos(slant), 0.0], [-math.sin(slant), 1.0]])
    zoom = np.diag([1 + numbers["zoom_height"] * ranges.zoom, 1 + numbers["zoom_width"] * ranges.zoom])
    shift = numbers["height_shift"] * ranges.height_shift, numbers["width_shift"] * ranges.width_shift
    matrix = rotation @ shear @ zoom
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    return matrix, centre + rotation @ (np.array(shift) * (height, width)) - matrix @ centre


DRAWN = (
    "rotation", "width_shift", "height_shift", "shear", "zoom_height", "zoom_width", "horizontal_flip", "brightness"
)  # fmt: skip


def _draw(content: bytes, view: View) -> dict[str, float]:
    """A number in [-1, 1) for each of `DRAWN`."""
    key = canonical_json(view.identity()).encode() + b"\0" + content
    digest = hashlib.shake_256(key).digest(8 * len(DRAWN))
    words = np.frombuffer(digest, ">u8") >> np.uint64(11)  # 53 bits: as many as a float holds
    return dict(zip(DRAWN, (words / 2.0**52 - 1).tolist(), strict=True))
