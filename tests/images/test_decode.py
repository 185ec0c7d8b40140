"""Decoding to RGB: golden colours, errors, bounded memory, and TensorFlow's values."""

import io
import json
import os
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import SpecError
from pipeline.images.decode import DecodeError, decode_image
from pipeline.images.status import Status
from tests.bad_images import (
    bad_images,
    bmp,
    cmyk_jpeg,
    noise,
    oriented,
    png,
    png_chunk,
    saved,
    tiff,
    with_size,
    write_bad_images,
)

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def colours(data: bytes, width: int = 2, height: int = 1) -> list:
    """The pixels of an image decoded at its own size, row by row."""
    return decode_image(data, (height, width)).reshape(-1, 3).tolist()


def greys(*values: float) -> list:
    return [[value] * 3 for value in values]


def refusal(data: bytes) -> tuple[Status, str]:
    with pytest.raises(DecodeError) as caught:
        decode_image(data, (4, 4))
    return caught.value.status, str(caught.value)


# The result


def test_the_result_is_rgb_in_float32_of_the_requested_size():
    pixels = decode_image(saved(noise(31, 17), "PNG"), (5, 9))
    assert pixels.shape == (5, 9, 3) and pixels.dtype == np.float32 and pixels.flags.c_contiguous


def test_an_unknown_resize_is_an_error():
    with pytest.raises(SpecError, match="'nearest' is not one of bilinear, antialias"):
        decode_image(saved(noise(), "PNG"), (4, 4), "nearest")


# Colours of each kind of file


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP"])
def test_fault_23_every_format_gives_the_same_pixels(format):
    image = Image.new("RGB", (2, 1))
    image.putdata([(255, 128, 0), (3, 200, 90)])
    options = {"lossless": True} if format == "WEBP" else {}
    assert colours(saved(image, format, **options)) == [[255, 128, 0], [3, 200, 90]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(png((2, 1), 8, 0, bytes([7, 200])), greys(7, 200), id="grey"),
        pytest.param(png((2, 1), 1, 0, b"\x40"), greys(0, 255), id="1-bit"),
        pytest.param(png((2, 1), 2, 0, b"\x60"), greys(85, 170), id="2-bit grey"),
        pytest.param(png((2, 1), 4, 0, b"\x5f"), greys(85, 255), id="4-bit grey"),
        pytest.param(png((2, 1), 8, 4, bytes([7, 0, 200, 255])), greys(7, 200), id="grey and alpha"),
        pytest.param(png((2, 1), 8, 6, bytes([1, 2, 3, 0, 4, 5, 6, 255])), [[1, 2, 3], [4, 5, 6]], id="RGBA"),
        pytest.param(png((2, 1), 16, 0, struct.pack(">2H", 2570, 51500)), greys(10, 51500 / 257), id="16-bit grey"),
        pytest.param(
            png((2, 1), 16, 2, struct.pack(">6H", 2570, 5140, 7710, 51400, 0, 65535)),
            [[10, 20, 30], [200, 0, 255]],
            id="16-bit RGB",
        ),
        pytest.param(
            png((2, 1), 16, 6, struct.pack(">8H", 2570, 5140, 7710, 0, 51400, 0, 65535, 65535)),
            [[10, 20, 30], [200, 0, 255]],
            id="16-bit RGBA",
        ),
        pytest.param(
            png((2, 1), 8, 3, bytes([1, 0]), before=png_chunk(b"PLTE", bytes([9, 8, 7, 255, 0, 1]))),
            [[255, 0, 1], [9, 8, 7]],
            id="palette",
        ),
        pytest.param(
            png(
                *((2, 1), 8, 3, bytes([1, 0])),
                before=png_chunk(b"PLTE", bytes([9, 8, 7, 255, 0, 1])) + png_chunk(b"tRNS", bytes([128, 0])),
            ),
            [[255, 0, 1], [9, 8, 7]],
            id="palette and alpha",
        ),
        pytest.param(
            png((2, 1), 8, 2, bytes([1, 2, 3, 4, 5, 6]), before=png_chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))),
            [[1, 2, 3], [4, 5, 6]],
            id="a transparent colour",
        ),
    ],
)
def test_fault_24_png_colours(data, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert colours(data) == pytest.approx(np.array(expected), abs=1e-4)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize(
    ("bits", "photometric", "big_endian", "pixels", "expected"),
    [
        pytest.param((8,), 1, False, bytes([7, 200]), greys(7, 200), id="grey"),
        pytest.param((8,), 0, False, bytes([7, 200]), greys(248, 55), id="negative grey"),
        pytest.param((1,), 0, False, b"\x40", greys(255, 0), id="negative 1-bit"),
        pytest.param((16,), 1, False, struct.pack("<2H", 2570, 51500), greys(10, 51500 / 257), id="16-bit grey"),
        pytest.param((16,), 1, True, struct.pack(">2H", 2570, 51500), greys(10, 51500 / 257), id="16-bit, big-endian"),
        pytest.param(
            *((16, 16, 16), 2, True, struct.pack(">6H", 2570, 5140, 7710, 51400, 0, 65535)),
            [[10, 20, 30], [200, 0, 255]],
            id="16-bit RGB",
        ),
        pytest.param(
            *((8, 8, 8, 8), 5, False, bytes([255, 0, 0, 0, 0, 0, 255, 128])),
            [[0, 255, 255], [127, 127, 0]],
            id="CMYK",
        ),
    ],
)
def test_fault_24_tiff_colours(bits, photometric, big_endian, pixels, expected, deflate):
    data = tiff((2, 1), bits, photometric, pixels, big_endian=big_endian, deflate=deflate)
    assert colours(data) == pytest.approx(np.array(expected), abs=1e-4)


@pytest.mark.parametrize("adobe", [True, False])
@pytest.mark.parametrize(
    ("ink", "expected"),
    [((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 255, 0), (255, 255, 0)), ((0, 0, 0, 200), (55, 55, 55))],
)
def test_fault_24_cmyk_jpeg_with_and_without_adobes_inversion(ink, expected, adobe):
    assert colours(cmyk_jpeg(ink, adobe=adobe), 16, 16) == pytest.approx(np.array([expected] * 256), abs=2)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [((0, 128, 128, 255), WHITE), ((76, 85, 255, 255), (0, 255, 255)), ((0, 128, 128, 55), (55,) * 3)],
)
def test_fault_24_ycck_jpeg(stored, expected):
    """Adobe's transform 2 stores the YCbCr of the inks taken as red, green and blue, then inverted black."""
    data = cmyk_jpeg(tuple(255 - value for value in stored), adobe=True)
    start = data.index(b"Adobe")
    ycck = data[: start + 11] + b"\x02" + data[start + 12 :]
    assert colours(ycck, 16, 16) == pytest.approx(np.array([expected] * 256), abs=2)


def test_fault_24_grey_jpeg():
    assert colours(saved(Image.new("L", (2, 1), 77), "JPEG", quality=100)) == greys(77, 77)


def test_16_bit_grey_is_not_rounded_before_resizing():
    data = png((2, 1), 16, 0, struct.pack(">2H", 100, 300))
    assert decode_image(data, (1, 1))[0, 0] == pytest.approx([200 / 257] * 3)


def test_fault_25_palette_bmp():
    palette = bytes([7, 8, 9, 0, 1, 0, 255, 0])  # blue, green, red, 0
    assert colours(bmp(2, 1, 8, bytes([1, 0, 0, 0]), palette=palette)) == [[255, 0, 1], [9, 8, 7]]


def test_a_bmp_stored_from_the_top_down():
    data = bmp(1, -2, 24, bytes([1, 2, 3, 0, 4, 5, 6, 0]))
    assert colours(data, 1, 2) == [[3, 2, 1], [6, 5, 4]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("floats.tif", "TIFF of 32-bit or floating point pixels is not supported"),
        ("integers-of-32-bits.tif", "TIFF of 32-bit or floating point pixels is not supported"),
        ("12-bits.tif", "TIFF in an unsupported layout (12 bits a sample)"),
        ("16-bits-negative.tif", "TIFF in an unsupported layout (16 bits a sample, negative)"),
        ("16-bits-in-planes.tif", "TIFF in an unsupported layout (16 bits a sample, in planes)"),
        ("signed.tif", "TIFF in an unsupported layout (8 bits a sample, signed)"),
        ("cielab.tif", "TIFF of LAB pixels is not supported"),
        ("run-lengths.bmp", "BMP in an unsupported encoding (bmp_rle)"),
        ("no-palette.png", "PNG without its palette"),
        ("heic.jpg", "not an image this package reads (HEIC, AVIF or a video)"),
    ],
)
def test_fault_25_what_pillow_decodes_wrongly_is_an_error(corpus, name, reason):
    assert refusal(corpus[name][0]) == (Status.UNDECODABLE, reason)


def test_fault_25_no_program_is_started_for_postscript(corpus, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", fail)
    for name in ("postscript.eps", "postscript.jpg"):
        assert refusal(corpus[name][0])[1] == "not an image this package reads (PostScript or PDF)"


# Orientation


TURNS = {
    1: [RED, GREEN, BLUE, WHITE, BLACK, RED],
    2: [BLUE, GREEN, RED, RED, BLACK, WHITE],
    3: [RED, BLACK, WHITE, BLUE, GREEN, RED],
    4: [WHITE, BLACK, RED, RED, GREEN, BLUE],
    5: [RED, WHITE, GREEN, BLACK, BLUE, RED],
    6: [WHITE, RED, BLACK, GREEN, RED, BLUE],
    7: [RED, BLUE, BLACK, GREEN, WHITE, RED],
    8: [BLUE, RED, GREEN, BLACK, RED, WHITE],
}


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_fault_26_images_come_out_upright(format, orientation):
    image = Image.new("RGB", (3, 2))
    image.putdata(TURNS[1])
    options = {"lossless": True} if format == "WEBP" else {}
    width, height = (3, 2) if orientation < 5 else (2, 3)
    data = oriented(format, orientation, image, **options)
    assert colours(data, width, height) == [list(colour) for colour in TURNS[orientation]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_fault_26_jpeg_is_turned_as_pillow_turns_it(orientation):
    from PIL import ImageOps

    data = oriented("JPEG", orientation, noise(13, 9))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    expected = decode_image(saved(upright, "PNG"), (7, 5))
    assert decode_image(data, (7, 5)) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_fault_26_an_unknown_orientation_is_ignored(value):
    image = noise(4, 3)
    assert colours(oriented("PNG", value, image), 4, 3) == colours(saved(image, "PNG"), 4, 3)


def test_fault_26_broken_exif_data_do_not_change_the_image():
    broken, sound = saved(noise(), "JPEG", exif=b"Exif\0\0" + bytes(range(64))), saved(noise(), "JPEG")
    assert np.array_equal(decode_image(broken, (9, 9)), decode_image(sound, (9, 9)))


# Several pictures in one file


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_fault_27_the_first_picture_is_decoded(format):
    first, second = Image.new("RGB", (16, 16), (250, 10, 10)), Image.new("RGB", (16, 16), (10, 10, 250))
    data = saved(first, format, save_all=True, append_images=[second])
    assert colours(data, 16, 16) == pytest.approx(np.array([[250, 10, 10]] * 256), abs=5)


def test_fault_27_a_later_picture_may_be_broken():
    first, second = Image.new("RGB", (16, 16), RED), noise(16, 16)
    data = saved(first, "GIF", save_all=True, append_images=[second])
    assert colours(data[:-200], 16, 16) == [list(RED)] * 256


# Extreme shapes


@pytest.mark.parametrize("resize", ["bilinear", "antialias"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_fault_29_extreme_shapes_are_decoded(width, height, resize):
    pixels = decode_image(saved(Image.new("RGB", (width, height), (9, 99, 200)), "PNG"), (15, 20), resize)
    assert pixels.reshape(-1, 3) == pytest.approx(np.array([[9, 99, 200]] * 300), abs=1e-4)


# The corpus


@pytest.fixture(scope="module")
def corpus() -> dict[str, tuple[bytes, Status]]:
    return {name: (data, status) for name, data, status in bad_images()}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")
def test_fault_22_every_bad_image_gets_its_status_and_one_line(corpus):
    got, expected = {}, {name: status for name, (_, status) in corpus.items()}
    for name, (data, _) in corpus.items():
        try:
            pixels = decode_image(data, (15, 20))
            assert pixels.shape == (15, 20, 3) and 0 <= pixels.min() <= pixels.max() <= 255.001
            got[name] = Status.OK
        except DecodeError as error:
            got[name] = error.status
            assert str(error) and str(error).isprintable(), name
    assert got == expected
    assert len(expected) >= 100


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.jpg", "an empty file"),
        ("html.jpg", "not an image this package reads (HTML, XML or SVG)"),
        ("lfs-pointer.jpg", "not an image this package reads (a Git LFS pointer)"),
        ("half-rgb.png", "truncated PNG (image file is truncated)"),
        ("half-baseline.jpg", "JPEG cut short (40 x 30 pixels in 713 bytes)"),
        ("second-half-zero.jpg", "JPEG cut short (40 x 30 pixels in 1400 bytes)"),
        ("pixels-overwritten.png", "damaged PNG (broken data stream when reading image file)"),
    ],
)
def test_fault_22_the_reason_is_in_plain_words(corpus, name, reason):
    assert refusal(corpus[name][0]) == (Status.UNDECODABLE, reason)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "WEBP"])
def test_fault_22_an_image_cut_short_never_gives_other_pixels(format, options):
    data = saved(noise(20, 12), format, **options)
    whole = decode_image(data, (12, 20))
    decoded = 0
    for length in range(0, len(data), 7):
        try:
            assert np.array_equal(decode_image(data[:length], (12, 20)), whole)
            decoded += 1
        except DecodeError:
            continue
    assert decoded <= 3  # a PNG of which only the end mark is missing


def test_fault_22_changed_bytes_raise_nothing_but_decode_errors():
    """Pillow raises a dozen kinds of exceptions for these files."""
    generator = np.random.default_rng(0)
    files = [saved(noise(), format) for format in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")]
    outcomes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for round in range(700):
            data = np.frombuffer(files[round % len(files)], np.uint8).copy()
            data[generator.integers(0, 120, 4)] = generator.integers(0, 256, 4)
            try:
                outcomes.add(decode_image(data.tobytes(), (4, 4)).shape)
            except DecodeError as error:
                outcomes.add(error.status)
    assert outcomes == {(4, 4, 3), Status.UNDECODABLE, Status.TOO_LARGE}


def test_a_bug_is_not_reported_as_a_bad_image(monkeypatch):
    def fail(*_, **__):
        raise ValueError("a bug")

    monkeypatch.setattr("pipeline.images.decode.stretch", fail)
    with pytest.raises(ValueError, match="a bug"):
        decode_image(saved(noise(), "PNG"), (4, 4))


# Size and memory


def test_fault_28_too_large_images_are_recognised_by_the_header_alone(corpus, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("pixels were decoded"))
    for name, (data, status) in corpus.items():
        if status is Status.TOO_LARGE:
            assert refusal(data)[0] is Status.TOO_LARGE, name
    size = "20000 x 20000 pixels, 1526 MiB to decode, more than 192"
    assert refusal(corpus["20000x20000.png"][0]) == (Status.TOO_LARGE, size)


def test_fault_28_an_image_in_several_scans_needs_more_memory_than_in_one():
    """libjpeg holds the coefficients of all scans, though Pillow does not report several scans in a baseline file."""
    one = with_size(saved(noise(), "JPEG", subsampling=0), 6000, 5000)
    start = one.index(b"\xff\xda")
    several = one[:start] + b"\xff\xda\0\x08\x01" + one[start + 5 : start + 7] + one[start + 11 :]
    assert refusal(one)[0] is Status.UNDECODABLE  # it is cut short, but not too large
    assert refusal(several) == (Status.TOO_LARGE, "6000 x 5000 pixels, 287 MiB to decode, more than 192")


def test_fault_28_pillows_settings_and_warnings_are_not_changed(corpus):
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        assert refusal(corpus["claims-90-megapixels.png"][0])[0] is Status.TOO_LARGE
        assert list(warnings.filters) == filters
    assert caught == []
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


PEAK = """
import json, pathlib, sys
import numpy as np
from pipeline.images.decode import DecodeError, decode_image

def kilobytes(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

def peak(work):
    open("/proc/self/clear_refs", "w").write("5")  # resets the peak
    before = kilobytes("VmRSS")
    try:
        work()
    except DecodeError:
        pass
    return (kilobytes("VmHWM") - before) / 1024

peak(lambda: decode_image(pathlib.Path(sys.argv[1], "warm-up.png").read_bytes(), (150, 150)))
peaks = {"a control": peak(lambda: np.ones(220 * 2**20, np.uint8))}
for path in pathlib.Path(sys.argv[1]).iterdir():
    data = path.read_bytes()
    for resize in ("bilinear", "antialias"):
        peaks[path.name, resize] = peak(lambda: decode_image(data, (150, 150), resize))
print(json.dumps([[name, value] for name, value in peaks.items()]))
"""


def peaks(folder: Path) -> dict[str | tuple[str, str], float]:
    """Return the peak memory while each file of `folder` is decoded, in MiB above what was in use before."""
    command = [sys.executable, "-W", "ignore", "-c", PEAK, str(folder)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    (folder / "warm-up.png").write_bytes(saved(noise(), "PNG"))
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=True
    )
    return {name if isinstance(name, str) else tuple(name): value for name, value in json.loads(done.stdout)}


needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")


@needs_proc
def test_fault_27_and_28_no_bad_image_takes_200_mib(tmp_path, corpus):
    expected = write_bad_images(tmp_path / "bad")
    assert expected == {name: status for name, (_, status) in corpus.items()}
    measured = peaks(tmp_path / "bad")
    assert measured.pop("a control") > 200
    assert len(measured) == 2 * (len(corpus) + 1)
    assert {name: peak for name, peak in measured.items() if peak >= 200} == {}
    assert max(peak for (name, _), peak in measured.items() if "400-frames" in name) < 20


@needs_proc
def test_fault_28_the_largest_images_allowed_take_less_than_200_mib(tmp_path):
    colour = (9, 99, 200)
    files = {
        "photo.jpg": saved(Image.new("RGB", (8160, 6144), colour), "JPEG"),
        "progressive.jpg": saved(Image.new("RGB", (6144, 4660), colour), "JPEG", progressive=True),
        "lossless.webp": saved(Image.new("RGB", (3490, 3490), colour), "WEBP", lossless=True, method=0),
        "one-strip.tif": tiff((4096, 4090), (8, 8, 8), 2, bytes(3 * 4096 * 4090), deflate=True),
        "turned.tif": tiff((5000, 5000), (8,), 1, bytes(25_000_000), tags={274: ("H", (6,))}),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    measured = peaks(tmp_path)
    assert {name: peak for name, peak in measured.items() if name != "a control" and peak >= 200} == {}
    assert measured["photo.jpg", "bilinear"] > 150  # it was decoded


# Resizing


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "CMYK"])
@pytest.mark.parametrize("resize", ["bilinear", "antialias"])
def test_the_size_of_blocks_does_not_change_a_bit(resize, mode, monkeypatch):
    image = noise(61, 47).convert("L").convert(mode) if mode == "I;16" else noise(61, 47).convert(mode)
    data = saved(image, "TIFF")
    whole = decode_image(data, (13, 17), resize)
    for pixels in (1, 61 * 5, 61 * 20):
        monkeypatch.setattr("pipeline.images.resize.BLOCK_PIXELS", pixels)
        assert np.array_equal(decode_image(data, (13, 17), resize), whole)


def test_bilinear_interpolates_between_half_pixel_centres():
    data = png((4, 1), 8, 0, bytes([0, 100, 200, 40]))
    assert decode_image(data, (1, 2))[0, :, 0].tolist() == [50, 120]
    assert decode_image(data, (1, 8))[0, :, 0].tolist() == [0, 25, 75, 125, 175, 160, 80, 40]


def test_antialias_averages_all_pixels_that_an_output_pixel_covers():
    data = png((6, 1), 8, 0, bytes([90, 0, 0, 0, 0, 0]))
    assert decode_image(data, (1, 2), "bilinear")[0, :, 0].tolist() == [0, 0]
    weights = np.array([1 - abs(i + 0.5 - 1.5) / 3 for i in range(6)]).clip(0)
    assert decode_image(data, (1, 2), "antialias")[0, 0, 0] == pytest.approx(90 * weights[0] / weights.sum())


def test_threads_do_not_change_the_pixels(corpus):
    files = [data for data, status in corpus.values() if status is Status.OK and len(data) < 10_000] * 4
    alone = [decode_image(data, (32, 32)) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode_image(data, (32, 32)), files))
    assert all(np.array_equal(*images) for images in zip(alone, together, strict=True))


# TensorFlow


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("source", [(1, 1), (3, 2), (37, 53), (150, 150), (300, 401), (768, 1023), (5000, 3)])
def test_resized_values_are_those_of_tensorflow(source, antialias):
    import tensorflow as tf

    pixels = np.asarray(noise(source[1], source[0]))
    data = saved(Image.fromarray(pixels), "PNG")
    for size in ((150, 150), (64, 299), (7, 5)):
        expected = tf.image.resize(pixels, size, method="bilinear", antialias=antialias).numpy()
        got = decode_image(data, size, "antialias" if antialias else "bilinear")
        assert np.abs(got - expected).max() < 1e-3


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 100}, {"quality": 10}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_pixels_equal_those_of_tensorflow(mode, options):
    import tensorflow as tf

    data = saved(noise(83, 59).convert(mode), "JPEG", **options)
    expected = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    assert np.array_equal(decode_image(data, (59, 83)), expected)


def test_decoding_does_not_import_tensorflow():
    script = "import sys, pipeline.images.decode; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2]).returncode == 0
