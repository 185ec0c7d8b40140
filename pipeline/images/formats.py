"""Which files are images: known by their first bytes, or by their name."""

import re
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
FIRST_BYTES = 16  # enough to tell the format
_MAGIC = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "WEBP": rb"RIFF....WEBP",
    "TIFF": rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
    "PPM": rb"P[1-6]\s",
}
_OTHER_MAGIC = {
    "HTML, XML or SVG": rb"\s*<",
    "a Git LFS pointer": rb"version https://git-lfs",
    "HEIC, AVIF or a video": rb"....ftyp",
    "PostScript or PDF": rb"%!PS|%PDF",
}


def image_format(data: bytes) -> str | None:
    """Return the image format that a file starting with `data` has, `JPEG` for example, or None."""
    return _first_match(_MAGIC, data)


def foreign_format(data: bytes) -> str:
    """Return what a file that is no supported image seems to be, in words for an error message."""
    return _first_match(_OTHER_MAGIC, data) or "an unknown format"


def may_be_image(path: Path, data: bytes) -> bool:
    """Return whether a file is an image, or is named like one: such a file is reported as a bad image."""
    return image_format(data) is not None or path.suffix.lower() in IMAGE_SUFFIXES


def _first_match(patterns: dict[str, bytes], data: bytes) -> str | None:
    return next((name for name, magic in patterns.items() if re.match(magic, data, re.DOTALL)), None)
