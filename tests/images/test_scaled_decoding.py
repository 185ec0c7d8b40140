"""JPEGs decoded at 1/2, 1/4 or 1/8: which ones are, to which size, and to which pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline import ConvBaseSpec
from pipeline.images.decode import DecodeError, decode_image, is_shrunk
from pipeline.images.status import Status
from tests.bad_images import bad_images, noise, oriented, saved

SIZE, AT_LEAST = (10, 8), (20, 16)


def decoded_sides(data: bytes, at_least: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width to which an image is decoded before it is resized."""
    return decode_image(data, lambda height, width: (height, width), at_least=at_least).shape[:2]


def drafted(data: bytes, size: tuple[int, int]) -> Image.Image:
    """Return the pixels that Pillow alone decodes at a smaller size; `size` is width and height."""
    image = Image.open(io.BytesIO(data))
    image.draft(None, size)
    image.load()
    return image


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_other_formats_are_decoded_exactly(format):
    data = saved(noise(200, 160), format)
    assert not is_shrunk(data, AT_LEAST)
    assert np.array_equal(decode_image(data, SIZE, at_least=AT_LEAST), decode_image(data, SIZE))


@pytest.mark.parametrize(("width", "height"), [(31, 40), (32, 39), (31, 500), (500, 39), (5, 5)])
def test_a_jpeg_that_is_not_twice_as_large_on_both_sides_is_decoded_exactly(width, height):
    data = saved(noise(width, height), "JPEG")
    assert not is_shrunk(data, AT_LEAST)
    assert np.array_equal(decode_image(data, SIZE, at_least=AT_LEAST), decode_image(data, SIZE))


@pytest.mark.parametrize("resize", ["bilinear", "antialias"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_jpeg_has_the_pixels_of_pillows_draft_resized(mode, options, resize):
    data = saved(noise(203, 161).convert(mode), "JPEG", **options)
    small = drafted(data, AT_LEAST[::-1])
    assert small.size == (26, 21) and small.mode == mode and is_shrunk(data, AT_LEAST)
    expected = decode_image(saved(small, "TIFF"), SIZE, resize)
    assert np.array_equal(decode_image(data, SIZE, resize, at_least=AT_LEAST), expected)
    assert not np.array_equal(decode_image(data, SIZE, resize), expected)


@pytest.mark.parametrize("side", [*range(15, 40), 63, 64, 65, 127, 128, 129, 500])
def test_the_size_is_the_smallest_that_is_not_below_the_one_asked_for(side):
    height, width = decoded_sides(saved(Image.new("RGB", (side, 2 * side)), "JPEG"), (16, 16))
    divisor = next(divisor for divisor in (8, 4, 2, 1) if side >= 16 * divisor or divisor == 1)
    assert (height, width) == (-(-2 * side // divisor), -(-side // divisor))
    assert width >= min(side, 16)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_sides_are_those_of_the_upright_image(orientation):
    data = oriented("JPEG", orientation, noise(320, 160))
    upright = (160, 320) if orientation < 5 else (320, 160)
    assert decoded_sides(data, (upright[0] // 4, upright[1] // 4)) == (upright[0] // 4, upright[1] // 4)
    assert decoded_sides(data, (upright[0] // 4, upright[1] // 4 + 1)) == (upright[0] // 2, upright[1] // 2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_has_the_pixels_of_the_upright_one(orientation):
    from PIL import ImageOps

    data = oriented("JPEG", orientation, noise(320, 160))
    small = drafted(data, (40, 20))
    expected = decode_image(saved(ImageOps.exif_transpose(small), "PNG"), (9, 7))
    at_least = (20, 40) if orientation < 5 else (40, 20)
    assert decode_image(data, (9, 7), at_least=at_least) == pytest.approx(expected, abs=1e-3)


def status_of(data: bytes, at_least: tuple[int, int] | None) -> tuple[Status, str]:
    try:
        decode_image(data, (2, 2), at_least=at_least)
    except DecodeError as error:
        return error.status, str(error)
    return Status.OK, ""


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_fault_22_and_28_the_same_images_are_refused_for_the_same_reasons():
    for name, data, status in bad_images():
        scaled = status_of(data, (1, 1))
        assert scaled == status_of(data, None), name
        assert scaled[0] is status, name


@pytest.mark.parametrize("resize", ["bilinear", "antialias"])
def test_a_scaled_spec_decodes_to_no_less_than_twice_the_input_size(resize):
    spec = ConvBaseSpec(size=SIZE, resize=resize, decode="scaled")
    data = saved(noise(203, 161), "JPEG")
    assert np.array_equal(spec.decode_image(data), decode_image(data, SIZE, resize, at_least=AT_LEAST))
    exact = ConvBaseSpec(size=SIZE, resize=resize)
    assert np.array_equal(exact.decode_image(data), decode_image(data, SIZE, resize))
