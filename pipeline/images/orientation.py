"""Upright images: the orientation that EXIF or XMP data give is applied to the pixels."""

import numpy as np
from PIL.ExifTags import Base as Tag
from PIL.ImageFile import ImageFile


def read_orientation(image: ImageFile) -> int:
    """Return the EXIF orientation of an image, or the XMP one where there is none, 1 to 8; 1 is upright."""
    try:
        value = image.getexif().get(Tag.Orientation, 1)
    except Exception:  # Pillow raises errors of any kind over damaged EXIF data; the pixels are sound
        return 1
    return int(value) if value in range(1, 9) else 1


def swaps_sides(orientation: int) -> bool:
    """Return whether height and width of the upright image are the width and height of the stored one."""
    return orientation >= 5


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels, (height, width, 3), turned and mirrored as the orientation asks."""
    if swaps_sides(orientation):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
