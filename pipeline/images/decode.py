"""Bytes to an RGB float array at the spec's size: the one decoder of cache, predict and export.

The rules, which `DECODER` names:

- The content decides, not the file's name: JPEG (of a multi-picture file the first), PNG, GIF,
  BMP, WEBP, TIFF (the first page) and binary PBM, PGM and PPM. Of an animation the first frame.
- Upright: the EXIF orientation, or the XMP one where there is none, is applied.
- Alpha and transparent colours are dropped, not blended, as TensorFlow and Keras do; so are colour
  profiles and gamma.
- JPEG is decoded with the slow integer DCT, TensorFlow's `dct_method="INTEGER_ACCURATE"`.
- 16-bit grey is v / 257, fractions kept. Of 16-bit colour Pillow gives the high byte, which is less
  than one level away from that.
- Then a stretch to the size asked for, to the values of `tf.image.resize`.
"""

from __future__ import annotations

import io
import operator
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageChops
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as Tag
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pipeline.errors import PipelineError, SpecError
from pipeline.images.resize import RESIZES, stretch
from pipeline.images.status import Status

DECODER = "pillow-1"  # part of a spec's fingerprint; raised whenever any pixel would change
MAX_PIXELS = 8192 * 6144  # the 8160 x 6144 of phones passes; 192 MiB at Pillow's 4 bytes a pixel
MAX_SIDE = 65_535  # as JPEG and GIF have it; codecs hold some rows besides the pixels

Size = tuple[int, int] | Callable[[int, int], tuple[int, int]]

_READERS: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (rb"\xff\xd8\xff", JpegImageFile),
    (rb"\x89PNG\r\n\x1a\n", PngImageFile),
    (rb"GIF8[79]a", GifImageFile),
    (rb"BM", BmpImageFile),
    (rb"RIFF....WEBP", WebPImageFile),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", TiffImageFile),
    (rb"P[456]\s", PpmImageFile),
)
_STRANGERS = (
    (rb"\s*<", "HTML, XML or SVG"),
    (rb"version https://git-lfs", "a Git LFS pointer"),
    (rb"....ftyp", "HEIC, AVIF or a video"),
    (rb"%!PS|%PDF", "PostScript or PDF"),
)
# Pillow's other codecs are loops in Python: they hold the interpreter's lock for as long as a
# stranger's file likes.
_CODECS = frozenset({"jpeg", "zip", "gif", "raw", "libtiff"})
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B"})


class DecodeError(PipelineError):
    """These bytes give no picture; the text is the reason in plain words, without the path.

    Its traceback keeps the decoder's memory alive: collect `status` and the text, not the error.

    Attributes
    ----------
    status : Status
        UNDECODABLE or TOO_LARGE.
    """

    def __init__(self, status: Status, reason: str):
        super().__init__(reason)
        self.status = status


def decode_image(data: bytes, size: Size, resize: str = "bilinear") -> np.ndarray:
    """Decode an image file and stretch it to `size`, by the rules of this module.

    Safe to call from several threads at once. Besides the result and a few copies of `data` it takes
    less than 200 MiB, whatever size the header claims; compressed texts in a hostile PNG can add
    Pillow's own limit for them, 64 Mi characters.

    Parameters
    ----------
    data : bytes
        The content of the file.
    size : (int, int) or callable
        Height and width of the result in pixels, or a function that gives them from those of the
        upright picture.
    resize : {"bilinear", "antialias"}

    Returns
    -------
    ndarray of shape (height, width, 3), float32
        RGB in 0..255.

    Raises
    ------
    DecodeError
        Damaged, not an image, of a kind that would come out wrong, or too large.
    SpecError
        An unknown `resize`.
    """
    if resize not in RESIZES:
        raise SpecError(f"resize {resize!r} is not one of {', '.join(RESIZES)}")
    image, orientation = _load(data)
    sideways = orientation >= 5
    if callable(size):
        size = size(image.width, image.height) if sideways else size(image.height, image.width)
    height, width = size[::-1] if sideways else size
    pixels = stretch(
        lambda top, bottom: _rgb(image, top, bottom),
        (image.height, image.width),
        (height, width),
        antialias=resize == "antialias",
    )
    return _upright(pixels, orientation)


def _load(data: bytes) -> tuple[ImageFile, int]:
    """The image with its pixels, and its EXIF orientation 1 to 8."""
    image = _open(data)
    need, size = _bytes_to_decode(image, data), f"{image.width} x {image.height} pixels"
    if need > 4 * MAX_PIXELS:
        allowed = 4 * MAX_PIXELS >> 20
        raise DecodeError(Status.TOO_LARGE, f"{size}, {-(-need >> 20)} MiB to decode, more than {allowed}")
    if max(image.size) > MAX_SIDE:
        raise DecodeError(Status.TOO_LARGE, f"{size}, more than {MAX_SIDE} on a side")
    if wrong := _why_wrong(image, data):
        raise DecodeError(Status.UNDECODABLE, f"{image.format} {wrong}")
    with _faults_of_the_file(image.format):
        image.load()
    image.info.pop("transparency", None)  # convert() warns of dropping it
    return image, _orientation(image)


def _open(data: bytes) -> ImageFile:
    # Not with Image.open: it warns of large images before anyone can look at the size.
    for magic, reader in _READERS:
        if re.match(magic, data, re.DOTALL):
            with _faults_of_the_file(reader.format):
                return reader(io.BytesIO(data))
    kind = next((kind for magic, kind in _STRANGERS if re.match(magic, data, re.DOTALL)), "an unknown format")
    raise DecodeError(Status.UNDECODABLE, f"not an image this package reads ({kind})" if data else "an empty file")


@contextmanager
def _faults_of_the_file(format: str | None) -> Iterator[None]:
    """Pillow meets garbage with exceptions of every kind, so little but calls to Pillow stands in here."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise DecodeError(Status.TOO_LARGE, f"{format}: {error}") from error
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        fault = "truncated" if "truncated" in text.lower() else "damaged"
        raise DecodeError(Status.UNDECODABLE, f"{fault} {format} ({text})") from error


def _bytes_to_decode(image: ImageFile, data: bytes) -> int:
    """The most that Pillow and its codec will hold at a time, by the header alone."""
    pixels = image.width * image.height
    if isinstance(image, JpegImageFile):
        return pixels * (4 + _coefficient_bytes(image, data))
    if isinstance(image, WebPImageFile):  # two canvases, a copy and the pixels, and half a byte inside libwebp
        return pixels * 33 // 2
    if isinstance(image, TiffImageFile):
        copies = 1 if _tag(image, Tag.Orientation, 1) == 1 else 2  # Pillow turns the whole image
        width, height = _tag(image, Tag.ImageWidth, 0), _tag(image, Tag.ImageLength, 0)
        rows = min(_tag(image, Tag.RowsPerStrip, height), height)
        chunk = _tag(image, Tag.TileWidth, width) * _tag(image, Tag.TileLength, rows)
        return 4 * pixels * copies + 8 * chunk * ("libtiff" in _codecs(image))
    return 4 * pixels


def _coefficient_bytes(image: JpegImageFile, data: bytes) -> int:
    """Bytes a pixel that libjpeg keeps of an image in several scans until it has read the last."""
    end, length = _scan_start(image), 6 + 2 * image.layers  # of the scan's header, if it names all layers
    if "progressive" not in image.info and data[end - length : end - length + 3] == bytes((0, length, image.layers)):
        return 0
    with _faults_of_the_file(image.format):
        return {1: 4, 2: 3}.get(get_sampling(image), 2 * image.layers)


def _why_wrong(image: ImageFile, data: bytes) -> str | None:
    """Why Pillow would read this as something else, or as grey or black, without a word."""
    if not _codecs(image) <= _CODECS:
        return f"in an unsupported encoding ({', '.join(_codecs(image))})"
    if image.mode not in _MODES:
        return f"of {'32-bit or floating point' if image.mode in 'IF' else image.mode} pixels is not supported"
    if image.mode == "P" and image.palette is None:
        return "without its palette"
    if isinstance(image, JpegImageFile):  # no block of 8 x 8 takes less than a bit
        whole = data.rfind(b"\xff\xd9") >= _scan_start(image) and image.width * image.height <= 8 * 64 * len(data)
        return None if whole else f"cut short ({image.width} x {image.height} pixels in {len(data)} bytes)"
    if isinstance(image, TiffImageFile):
        bits, signed = _tag(image, Tag.BitsPerSample, 1), _tag(image, Tag.SampleFormat, 1) != 1
        negative = _tag(image, Tag.PhotometricInterpretation, 0) == 0
        planes = _tag(image, Tag.PlanarConfiguration, 1) == 2
        if signed or bits == 12 or (bits == 16 and (negative or planes)):
            kind = f"{bits} bits a sample{', signed' * signed}{', negative' * negative}{', in planes' * planes}"
            return f"in an unsupported layout ({kind})"
    return None


def _codecs(image: ImageFile) -> set[str]:
    return {tile[0] for tile in image.tile}  # of WEBP there are none before it is loaded


def _scan_start(image: JpegImageFile) -> int:
    return image.fp.tell() if image.fp else 0  # Pillow has read the headers up to there


def _tag(image: TiffImageFile, tag: Tag, default: int) -> int:
    """A TIFF tag's number, the largest where it has one a sample."""
    with _faults_of_the_file(image.format):
        value = image.tag_v2.get(tag, default)
        number = max(map(operator.index, value if isinstance(value, tuple) else (value,)))
        if number < 0:
            raise ValueError(f"{tag.name} is {number}")
        return number


def _orientation(image: ImageFile) -> int:
    try:
        value = image.getexif().get(Tag.Orientation, 1)
    except Exception:  # as in _faults_of_the_file, but the pixels are sound
        return 1
    return int(value) if value in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _rgb(image: ImageFile, top: int, bottom: int) -> np.ndarray:
    """Rows top to bottom - 1 as (rows, width, 3), uint8; of 16-bit grey float32."""
    whole = (top, bottom) == (0, image.height)
    part = image if whole else image.crop((0, top, image.width, bottom))
    if part.mode.startswith("I;16"):
        grey = np.asarray(part).astype(np.float32) / np.float32(257)
        return np.broadcast_to(grey[:, :, None], (*grey.shape, 3))
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        part = ImageChops.invert(part)  # Pillow takes every CMYK JPEG for Adobe's, which are inverted
    return np.asarray(part if part.mode == "RGB" else part.convert("RGB"))
