"""A corpus of bad and odd images, each with the status that its row gets.

`write_bad_images(folder)` writes the same bytes each time. The names say what is wrong with a file;
many have the suffix of another format, as the suffix does not matter.
"""

import io
import random
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.images.decode import MAX_PIXELS
from pipeline.images.status import Status

OK, UNDECODABLE, TOO_LARGE = Status.OK, Status.UNDECODABLE, Status.TOO_LARGE
LIMIT = (8192, MAX_PIXELS // 8192)  # the largest width and height allowed
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def write_bad_images(folder: Path) -> dict[str, Status]:
    """Write the corpus into `folder` and return the expected status of each file by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, data, status in bad_images():
        (folder / name).write_bytes(data)
        expected[name] = status
    return expected


def bad_images() -> Iterator[tuple[str, bytes, Status]]:
    """Yield name, content and expected status of each image."""
    yield from _not_images()
    yield from _cut_short()
    yield from _damaged()
    yield from _lying_headers()
    yield from _bombs()
    yield from _unsupported()
    yield from _odd_but_right()


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    """Return the bytes of the file that Pillow writes of an image."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noise(width: int = 40, height: int = 30) -> Image.Image:
    """Return an RGB image of random pixels."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    size: tuple[int, int], bits: int, colour: int, rows: bytes | None, *, before: bytes = b"", after: bytes = b""
) -> bytes:
    """Return a PNG file of unfiltered rows, with further chunks before and after them.

    `size` is width and height; `colour` is 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA. If `rows`
    is None, all pixels are zero.
    """
    width, height = size
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row_bytes = (width * bits * samples + 7) // 8
    deflate = zlib.compressobj(1)
    if rows is None:
        body = b"".join(deflate.compress(bytes(row_bytes + 1)) for _ in range(height))
    else:
        lines = [rows[start : start + row_bytes] for start in range(0, len(rows), max(row_bytes, 1))]
        body = b"".join(deflate.compress(b"\0" + line) for line in lines)
    header = png_chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", body + deflate.flush())
    return PNG_MAGIC + header + before + pixels + after + png_chunk(b"IEND", b"")


def tiff(
    size: tuple[int, int],
    bits: Sequence[int],
    photometric: int,
    pixels: bytes,
    *,
    tags: Mapping[int, tuple[str, Sequence[int]]] | None = None,
    big_endian: bool = False,
    deflate: bool = False,
) -> bytes:
    """Return a TIFF file of one strip; `tags` (number: type character of `struct`, values) are added or replaced."""
    order = ">" if big_endian else "<"
    types = {"B": 1, "H": 3, "I": 4, "b": 6, "h": 8, "i": 9, "f": 11}
    strip = zlib.compress(pixels) if deflate else pixels
    strip += b"\0" * (len(strip) % 2)
    entries: dict[int, tuple[str, Sequence[int]]] = {256: ("I", size[:1]), 257: ("I", size[1:])}
    entries |= {258: ("H", bits), 259: ("H", (8 if deflate else 1,)), 262: ("H", (photometric,))}
    entries |= {273: ("I", (8,)), 277: ("H", (len(bits),)), 278: ("I", size[1:]), 279: ("I", (len(strip),))}
    entries |= tags or {}
    directory, values = struct.pack(f"{order}H", len(entries)), b""
    values_at = 8 + len(strip) + 2 + 12 * len(entries) + 4
    for tag, (kind, numbers) in sorted(entries.items()):
        value = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        directory += struct.pack(f"{order}HHI", tag, types[kind], len(numbers))
        if len(value) <= 4:
            directory += value.ljust(4, b"\0")
        else:
            directory += struct.pack(f"{order}I", values_at + len(values))
            values += value
    magic = b"MM\0*" if big_endian else b"II*\0"
    return magic + struct.pack(f"{order}I", 8 + len(strip)) + strip + directory + struct.pack("<I", 0) + values


def bmp(width: int, height: int, bits: int, pixels: bytes, *, palette: bytes = b"", compression: int = 0) -> bytes:
    """Return a BMP file; rows are bottom up and padded to 4 bytes, palette entries are blue, green, red, 0."""
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, len(palette) // 4, 0
    )
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + palette + pixels


def with_size(data: bytes, width: int, height: int) -> bytes:
    """Return a baseline or progressive JPEG whose header claims another size."""
    for marker in (b"\xff\xc0\0", b"\xff\xc2\0"):
        start = data.find(marker)
        if start >= 0:
            return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]
    raise ValueError("no frame header")


def cmyk_jpeg(ink: tuple[int, int, int, int], *, adobe: bool) -> bytes:
    """Return a CMYK JPEG of one colour: Adobe's with inverted values, or a plain one."""
    data = saved(
        Image.new("CMYK", (16, 16), ink if adobe else tuple(255 - value for value in ink)), "JPEG", quality=100
    )
    start = data.index(b"\xff\xee\0\x0eAdobe")
    return data if adobe else data[:start] + data[start + 16 :]


def oriented(format: str, orientation: int, image: Image.Image, **options: object) -> bytes:
    """Return a file with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, format, exif=exif, **options)


def _not_images() -> Iterator[tuple[str, bytes, Status]]:
    yield "empty.jpg", b"", UNDECODABLE
    yield "one-byte.jpg", b"\xff", UNDECODABLE
    yield "html.jpg", b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n", UNDECODABLE
    yield "text.png", b"You have exceeded your download quota.\n", UNDECODABLE
    yield "text-BM.bmp", b"BMW is a maker of cars, and this is a text, not a bitmap.\n", UNDECODABLE
    yield "svg.png", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', UNDECODABLE
    yield "lfs-pointer.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", UNDECODABLE
    yield "zeros.jpg", bytes(4096), UNDECODABLE
    yield "random.jpg", random.Random(0).randbytes(4096), UNDECODABLE
    yield "random-after-magic.jpg", b"\xff\xd8\xff\xe0" + random.Random(1).randbytes(4096), UNDECODABLE
    yield "heic.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), UNDECODABLE
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touched) (w) file closefile\nshowpage\n"
    yield "postscript.eps", postscript, UNDECODABLE
    yield "postscript.jpg", postscript, UNDECODABLE


def _cut_short() -> Iterator[tuple[str, bytes, Status]]:
    image = noise()
    whole = {
        "baseline.jpg": saved(image, "JPEG"),
        "progressive.jpg": saved(image, "JPEG", progressive=True),
        "rgb.png": saved(image, "PNG"),
        "palette.gif": saved(image, "GIF"),
        "rgb.bmp": saved(image, "BMP"),
        "lossy.webp": saved(image, "WEBP"),
        "raw.tif": saved(image, "TIFF"),
        "lzw.tif": saved(image, "TIFF", compression="tiff_lzw"),
        "rgb.ppm": saved(image, "PPM"),
    }
    for name, data in whole.items():
        yield f"half-{name}", data[: len(data) // 2], UNDECODABLE
        yield f"header-only-{name}", data[:24], UNDECODABLE
    yield "last-byte-missing.jpg", whole["baseline.jpg"][:-1], UNDECODABLE
    half = whole["baseline.jpg"][:700]
    yield "second-half-zero.jpg", half + bytes(700), UNDECODABLE
    yield "only-the-end-chunk-missing.png", whole["rgb.png"][:-12], OK


def _damaged() -> Iterator[tuple[str, bytes, Status]]:
    whole = saved(noise(), "PNG")
    yield "pixels-overwritten.png", whole[:200] + bytes(300) + whole[500:], UNDECODABLE
    yield "header-checksum-wrong.png", whole[:29] + b"\0\0\0\0" + whole[33:], UNDECODABLE
    yield "no-pixels.png", whole[:33] + png_chunk(b"IEND", b""), UNDECODABLE
    yield "no-palette.png", png((2, 1), 8, 3, bytes([0, 1])), UNDECODABLE
    yield "zero-wide.png", png((0, 1), 8, 2, b""), UNDECODABLE
    yield "zero-high.bmp", bmp(4, 0, 24, b""), UNDECODABLE
    yield "no-quantisation-tables.jpg", saved(noise(), "JPEG").replace(b"\xff\xdb", b"\xff\xfe"), UNDECODABLE
    progressive = saved(noise(), "JPEG", progressive=True)
    start = progressive.index(b"\xff\xc2") + 2
    one_layer = progressive[:start] + b"\0\x0b" + progressive[start + 2 : start + 11] + progressive[start + 17 :]
    yield "one-layer-of-three.jpg", one_layer, UNDECODABLE
    yield "no-frame.gif", b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b";", UNDECODABLE
    yield "no-palette.tif", tiff((2, 1), (8,), 3, bytes([0, 1])), UNDECODABLE
    yield "no-strips.tif", tiff((2, 1), (8,), 1, bytes(2), tags={273: ("I", ())}), UNDECODABLE
    yield "directory-beyond-the-end.tif", b"II*\0" + struct.pack("<I", 10**6) + bytes(64), UNDECODABLE
    yield "negative-rows-in-a-strip.tif", tiff((2, 1), (8,), 1, bytes(2), tags={278: ("i", (-5,))}), UNDECODABLE
    yield "riff-without-picture.webp", b"RIFF" + struct.pack("<I", 20) + b"WEBPVP8 " + bytes(12), UNDECODABLE


def _lying_headers() -> Iterator[tuple[str, bytes, Status]]:
    small = saved(noise(), "JPEG")
    progressive = saved(noise(), "JPEG", progressive=True)
    yield "claims-65500x65500.jpg", with_size(small, 65500, 65500), TOO_LARGE
    yield "claims-as-much-as-is-allowed.jpg", with_size(small, *LIMIT), UNDECODABLE
    yield "claims-a-row-too-much.jpg", with_size(small, LIMIT[0], LIMIT[1] + 1), TOO_LARGE
    yield "claims-8160x6144-progressive.jpg", with_size(progressive, 8160, 6144), TOO_LARGE
    yield "claims-6000x4000-progressive.jpg", with_size(progressive, 6000, 4000), UNDECODABLE
    for name, size, status in (
        ("claims-2-to-the-31.png", (2**31 - 1, 2**31 - 1), TOO_LARGE),
        ("claims-90-megapixels.png", (10_000, 9_000), TOO_LARGE),
        ("claims-as-much-as-is-allowed.png", LIMIT, UNDECODABLE),
        ("claims-a-million-wide.png", (1_000_000, 40), TOO_LARGE),
    ):
        yield name, png(size, 8, 2, bytes(100)), status
    yield "claims-60000x60000.bmp", bmp(60_000, 60_000, 24, bytes(100)), TOO_LARGE
    yield "claims-as-much-as-is-allowed.bmp", bmp(*LIMIT, 24, bytes(100)), UNDECODABLE
    frame = b"," + struct.pack("<4HB", 0, 0, 65535, 65535, 0) + b"\x08\x02\x4c\x01\0;"
    yield "claims-65535x65535.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + frame, TOO_LARGE
    yield "frame-beyond-its-screen.gif", b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + frame, TOO_LARGE
    yield "claims-60000x60000.tif", tiff((60_000, 60_000), (8,), 1, bytes(100)), TOO_LARGE
    yield "claims-as-much-as-is-allowed.tif", tiff(LIMIT, (8, 8, 8), 2, bytes(100)), UNDECODABLE
    tile = {322: ("I", (60_000,)), 323: ("I", (60_000,)), 324: ("I", (8,)), 325: ("I", (100,))}
    yield "tile-of-60000x60000.tif", tiff((9, 9), (8,), 1, bytes(81), tags=tile, deflate=True), TOO_LARGE
    turned = tiff((6000, 6000), (8,), 1, bytes(100), tags={274: ("H", (6,))})
    yield "claims-6000x6000.tif", tiff((6000, 6000), (8,), 1, bytes(100)), UNDECODABLE
    yield "claims-6000x6000-to-be-turned.tif", turned, TOO_LARGE
    webp = saved(noise(), "WEBP", lossless=True)
    for side, status in ((16383, TOO_LARGE), (3600, TOO_LARGE), (3400, UNDECODABLE)):
        claim = struct.pack("<I", side - 1 | side - 1 << 14)
        yield f"claims-{side}x{side}.webp", webp[:21] + claim + webp[25:], status
    yield "claims-99999x99999.ppm", b"P6 99999 99999 255\n" + bytes(100), TOO_LARGE


def _bombs() -> Iterator[tuple[str, bytes, Status]]:
    yield "20000x20000.png", png((20_000, 20_000), 1, 0, None), TOO_LARGE
    yield "as-large-as-is-allowed.png", png(LIMIT, 1, 0, None), OK
    deflate = zlib.compressobj(1)
    spaces = b"".join(deflate.compress(b" " * 2**20) for _ in range(300)) + deflate.flush()
    text, profile = png_chunk(b"zTXt", b"Comment\0\0" + spaces), png_chunk(b"iCCP", b"profile\0\0" + spaces)
    yield "300-megabytes-of-text.png", png((1, 1), 8, 2, bytes(3), before=text), UNDECODABLE
    yield "300-megabytes-of-text-at-the-end.png", png((1, 1), 8, 2, bytes(3), after=text), UNDECODABLE
    yield "300-megabytes-of-profile.png", png((1, 1), 8, 2, bytes(3), before=profile), UNDECODABLE
    frame = saved(noise(600, 400).quantize(64), "GIF")
    start = 13 + 3 * 64  # behind the palette
    yield "400-frames.gif", frame[:-1] + frame[start:-1] * 399 + b";", OK
    flat = [Image.new("RGB", (300, 200), (i % 256, i // 256, 9)) for i in range(400)]
    yield "400-frames.webp", saved(flat[0], "WEBP", save_all=True, append_images=flat[1:], method=0), OK
    yield "400-frames.png", saved(flat[0], "PNG", save_all=True, append_images=flat[1:], compress_level=1), OK


def _unsupported() -> Iterator[tuple[str, bytes, Status]]:
    grey = np.arange(12, dtype=np.float32).reshape(3, 4)
    yield "floats.tif", saved(Image.fromarray(grey), "TIFF"), UNDECODABLE
    yield "integers-of-32-bits.tif", saved(Image.fromarray(grey.astype(np.int32)), "TIFF"), UNDECODABLE
    yield "signed.tif", tiff((2, 1), (8,), 1, bytes(2), tags={339: ("H", (2,))}), UNDECODABLE
    yield "12-bits.tif", tiff((2, 1), (12,), 1, bytes(3)), UNDECODABLE
    yield "16-bits-negative.tif", tiff((2, 1), (16,), 0, bytes(4)), UNDECODABLE
    planes = {273: ("I", (8, 12, 16)), 278: ("I", (1,)), 279: ("I", (4, 4, 4)), 284: ("H", (2,))}
    yield "16-bits-in-planes.tif", tiff((2, 1), (16, 16, 16), 2, bytes(12), tags=planes), UNDECODABLE
    yield "cielab.tif", saved(Image.new("LAB", (4, 3)), "TIFF"), UNDECODABLE
    yield "run-lengths.bmp", bmp(4, 1, 8, b"\x04\x01\0\x01", palette=bytes(8), compression=1), UNDECODABLE
    yield "plain-text.ppm", b"P3 1 1 255 9 9 9\n", UNDECODABLE
    yield "floats.pfm", b"Pf\n1 1\n-1.0\n" + struct.pack("<f", 0.5), UNDECODABLE
    yield "icon.ico", saved(noise(16, 16), "ICO"), UNDECODABLE


def _odd_but_right() -> Iterator[tuple[str, bytes, Status]]:
    image = noise()
    yield "jpeg-named.png", saved(image, "JPEG"), OK
    yield "png-named.jpg", saved(image, "PNG"), OK
    yield "webp-named.jpeg", saved(image, "WEBP"), OK
    yield "no-ending", saved(image, "GIF"), OK
    yield "1x1.png", saved(noise(1, 1), "PNG"), OK
    yield "1x5000.png", saved(noise(1, 5000), "PNG"), OK
    yield "5000x1.jpg", saved(noise(5000, 1), "JPEG"), OK
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        yield f"mode-{mode.replace(';', '-')}.png", saved(image.convert("L").convert(mode), "PNG"), OK
    yield "cmyk-adobe.jpg", cmyk_jpeg((255, 0, 0, 0), adobe=True), OK
    yield "cmyk-plain.jpg", cmyk_jpeg((255, 0, 0, 0), adobe=False), OK
    yield "palette.bmp", saved(image.quantize(16), "BMP"), OK
    yield "top-down.bmp", bmp(1, -2, 24, bytes([1, 2, 3, 0, 4, 5, 6, 0])), OK
    yield "exif-6.jpg", oriented("JPEG", 6, image), OK
    yield "exif-of-garbage.jpg", saved(image, "JPEG", exif=b"Exif\0\0" + bytes(range(64))), OK
    yield "garbage-after-the-end.jpg", saved(image, "JPEG") + random.Random(2).randbytes(999), OK
    yield "two-pictures.mpo", saved(image, "MPO", save_all=True, append_images=[image.rotate(180)]), OK
    yield "tiff-in-big-endian.tif", tiff((2, 1), (16,), 1, bytes(4), big_endian=True), OK
    yield "two-pages.tif", saved(image, "TIFF", save_all=True, append_images=[noise(9, 9)]), OK
    yield "interlaced.gif", saved(image, "GIF", interlace=1), OK
