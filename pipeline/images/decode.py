"""Decode the bytes of an image file to an RGB float array; cache, predict and export all use this decoder.

`DECODER` is the name of these rules:

- The format is recognised by content, not by the file's name: JPEG (of a multi-picture file the
  first), PNG, GIF, BMP, WEBP, TIFF (the first page) and binary PBM, PGM and PPM. Of an animation the
  first frame is taken.
- The image is turned upright by its EXIF orientation, or by the XMP one where there is none.
- Alpha and transparent colours are dropped, not blended, as TensorFlow and Keras do; so are colour
  profiles and gamma.
- JPEG is decoded with the slow integer DCT, TensorFlow's `dct_method="INTEGER_ACCURATE"`.
- A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size if the caller says how large it must stay.
- 16-bit grey is divided by 257 without rounding. Of 16-bit colour Pillow gives the high byte, which
  differs from that by less than one level.
- The image is then stretched to the size asked for, to the values of `tf.image.resize`.
"""

import functools
import io
import operator
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
from pipeline.images.formats import foreign_format, image_format
from pipeline.images.orientation import read_orientation, swaps_sides, turn_upright
from pipeline.images.resize import RESIZES, stretch
from pipeline.images.status import Status

DECODER = "pillow-1"  # part of a spec's fingerprint; raised whenever any pixel would change
MAX_PIXELS = 8192 * 6144  # phones make 8160 x 6144; 192 MiB at Pillow's 4 bytes a pixel
MAX_SIDE = 65_535  # the limit of JPEG and GIF; codecs hold some rows besides the pixels

Size = tuple[int, int] | Callable[[int, int], tuple[int, int]]

_READERS: dict[str | None, type[ImageFile]] = {
    reader.format: reader
    for reader in (JpegImageFile, PngImageFile, GifImageFile, BmpImageFile, WebPImageFile, TiffImageFile, PpmImageFile)
}
# Pillow's other codecs are Python loops: an untrusted file could make them hold the interpreter's lock for any time.
_CODECS = frozenset({"jpeg", "zip", "gif", "raw", "libtiff"})
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B"})


class DecodeError(PipelineError):
    """An image file cannot be decoded; the text is the reason in plain words, without the path.

    Its traceback keeps the decoder's memory alive: store `status` and the text, not the error itself.
    """

    def __init__(self, status: Status, reason: str):
        super().__init__(reason)
        self.status = status


def decode_image(
    data: bytes, size: Size, resize: str = "bilinear", *, at_least: tuple[int, int] | None = None
) -> np.ndarray:
    """Decode an image file and stretch it to `size`; return RGB in 0..255, (height, width, 3), float32.

    `size` is the height and width of the result, or a function that returns them given height and width of the
    upright image. `resize` says how the image is resampled where it shrinks; see `stretch`. A DecodeError says that
    the data are damaged, are no image, are of a kind that Pillow would decode wrongly, or are too large.

    With `at_least`, a height and width, a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, the smallest at which
    the upright image has at least these sides. This is several times faster, and `size` gets the sides so decoded.

    Several threads may call this function at the same time. Besides the result and a few copies of `data` it takes
    less than 200 MiB, whatever size the header claims; compressed texts in an untrusted PNG can add Pillow's own
    limit for them, 64 Mi characters.
    """
    if resize not in RESIZES:
        raise SpecError(f"resize {resize!r} is not one of {', '.join(RESIZES)}")
    image = _open(data)
    _shrink(image, at_least)
    with _as_decode_errors(image.format):
        image.load()
    image.info.pop("transparency", None)  # otherwise convert() warns that it drops the transparency
    orientation = read_orientation(image)
    swapped, source = swaps_sides(orientation), (image.height, image.width)
    if callable(size):
        size = size(*(source[::-1] if swapped else source))
    target = size[::-1] if swapped else size
    pixels = stretch(functools.partial(_rgb, image), source, target, antialias=resize == "antialias")
    return turn_upright(pixels, orientation)


def is_shrunk(data: bytes, at_least: tuple[int, int] | None) -> bool:
    """Return whether `at_least` lets `decode_image` decode an image at a smaller size; only its headers are read."""
    return _shrink(_open(data), at_least)


def _open(data: bytes) -> ImageFile:
    """Return the image before its pixels are decoded, after all checks that need only its headers."""
    format = image_format(data)
    if format is None:
        reason = f"not an image this package reads ({foreign_format(data)})" if data else "an empty file"
        raise DecodeError(Status.UNDECODABLE, reason)
    with _as_decode_errors(format):  # not `Image.open`, which warns of large images before the size can be checked
        image = _READERS[format](io.BytesIO(data))
    need, size = _bytes_to_decode(image, data), f"{image.width} x {image.height} pixels"
    if need > 4 * MAX_PIXELS:
        allowed = 4 * MAX_PIXELS >> 20
        raise DecodeError(Status.TOO_LARGE, f"{size}, {-(-need >> 20)} MiB to decode, more than {allowed}")
    if max(image.size) > MAX_SIDE:
        raise DecodeError(Status.TOO_LARGE, f"{size}, more than {MAX_SIDE} on a side")
    if problem := _unsupported_feature(image, data):
        raise DecodeError(Status.UNDECODABLE, f"{image.format} {problem}")
    return image


def _shrink(image: ImageFile, at_least: tuple[int, int] | None) -> bool:
    """Let a large JPEG be decoded at a smaller size, from the first terms of its DCT; return whether it will be."""
    if at_least is None or not isinstance(image, JpegImageFile):
        return False
    height, width = at_least[::-1] if swaps_sides(read_orientation(image)) else at_least
    stored_width = image.width
    image.draft(None, (width, height))  # without a mode, colours stay as they are
    return image.width < stored_width


@contextmanager
def _as_decode_errors(format: str | None) -> Iterator[None]:
    """Raise any exception as a DecodeError; for calls of Pillow only, which raises all kinds over damaged data."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise DecodeError(Status.TOO_LARGE, f"{format}: {error}") from error
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        damage = "truncated" if "truncated" in text.lower() else "damaged"
        raise DecodeError(Status.UNDECODABLE, f"{damage} {format} ({text})") from error


def _bytes_to_decode(image: ImageFile, data: bytes) -> int:
    """Return the peak memory of Pillow and its codec while decoding, in bytes, from the header alone."""
    pixels = image.width * image.height
    if isinstance(image, JpegImageFile):
        return pixels * (4 + _coefficient_bytes(image, data))
    if isinstance(image, WebPImageFile):  # two canvases, a copy and the pixels, and half a byte inside libwebp
        return pixels * 33 // 2
    if isinstance(image, TiffImageFile):
        copies = 1 if _tiff_number(image, Tag.Orientation, 1) == 1 else 2  # Pillow turns the whole image
        width, height = _tiff_number(image, Tag.ImageWidth, 0), _tiff_number(image, Tag.ImageLength, 0)
        rows = min(_tiff_number(image, Tag.RowsPerStrip, height), height)
        chunk = _tiff_number(image, Tag.TileWidth, width) * _tiff_number(image, Tag.TileLength, rows)
        return 4 * pixels * copies + 8 * chunk * ("libtiff" in _codecs(image))
    return 4 * pixels


def _coefficient_bytes(image: JpegImageFile, data: bytes) -> int:
    """Return the bytes per pixel that libjpeg holds of an image in several scans until it has read the last."""
    end, length = _scan_start(image), 6 + 2 * image.layers  # of the scan's header, if it names all layers
    if "progressive" not in image.info and data[end - length : end - length + 3] == bytes((0, length, image.layers)):
        return 0
    with _as_decode_errors(image.format):
        return {1: 4, 2: 3}.get(get_sampling(image), 2 * image.layers)


def _unsupported_feature(image: ImageFile, data: bytes) -> str | None:
    """Return what Pillow would decode to wrong, grey or black pixels without an error; None if there is nothing."""
    if not _codecs(image) <= _CODECS:
        return f"in an unsupported encoding ({', '.join(_codecs(image))})"
    if image.mode not in _MODES:
        return f"of {'32-bit or floating point' if image.mode in 'IF' else image.mode} pixels is not supported"
    if image.mode == "P" and image.palette is None:
        return "without its palette"
    if isinstance(image, JpegImageFile):  # a block of 8 x 8 pixels takes one bit at least
        whole = data.rfind(b"\xff\xd9") >= _scan_start(image) and image.width * image.height <= 8 * 64 * len(data)
        return None if whole else f"cut short ({image.width} x {image.height} pixels in {len(data)} bytes)"
    if isinstance(image, TiffImageFile):
        bits, signed = _tiff_number(image, Tag.BitsPerSample, 1), _tiff_number(image, Tag.SampleFormat, 1) != 1
        negative = _tiff_number(image, Tag.PhotometricInterpretation, 0) == 0
        planes = _tiff_number(image, Tag.PlanarConfiguration, 1) == 2
        if signed or bits == 12 or (bits == 16 and (negative or planes)):
            layout = f"{bits} bits a sample{', signed' * signed}{', negative' * negative}{', in planes' * planes}"
            return f"in an unsupported layout ({layout})"
    return None


def _codecs(image: ImageFile) -> set[str]:
    return {tile[0] for tile in image.tile}  # WEBP has none before it is loaded


def _scan_start(image: JpegImageFile) -> int:
    return image.fp.tell() if image.fp else 0  # Pillow has read the headers up to the first scan


def _tiff_number(image: TiffImageFile, tag: Tag, default: int) -> int:
    """Return the number of a TIFF tag; the largest number where the tag has one per sample."""
    with _as_decode_errors(image.format):
        value = image.tag_v2.get(tag, default)
        number = max(map(operator.index, value if isinstance(value, tuple) else (value,)))
        if number < 0:
            raise ValueError(f"{tag.name} is {number}")
        return number


def _rgb(image: ImageFile, top: int, bottom: int) -> np.ndarray:
    """Return rows top to bottom - 1 as (rows, width, 3), uint8; of 16-bit grey float32."""
    whole = (top, bottom) == (0, image.height)
    part = image if whole else image.crop((0, top, image.width, bottom))
    if part.mode.startswith("I;16"):
        grey = np.asarray(part).astype(np.float32) / np.float32(257)
        return np.broadcast_to(grey[:, :, None], (*grey.shape, 3))
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        part = ImageChops.invert(part)  # Pillow inverts every CMYK JPEG, though only Adobe's are stored inverted
    return np.asarray(part if part.mode == "RGB" else part.convert("RGB"))
