"""The speed of decoding photos of 12 megapixels, exactly and scaled, and how much their pixels differ."""

import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import ConvBaseSpec

from .measuring import alternate, say, seconds_of
from .photos import GRAIN
from .results import Figure, figure, ratios
from .sizes import Sizes

QUALITY = 90
SIDES = (150, 224)  # pixels of the conv base's input


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure milliseconds on one core; the photos are enlarged ones, as those of the bench are small."""
    width, height = sizes.large_photo
    say(f"  enlarging {sizes.large_photos} photos to {width} x {height} pixels")
    paths = sorted(photos.glob("*/*/*.jpg"))
    chosen = paths[:: max(1, len(paths) // sizes.large_photos)][: sizes.large_photos]
    files = [_enlarge(path, sizes.large_photo) for path in chosen]
    return [figure for side in SIDES for figure in _measure_side(sizes, files, side)]


def _measure_side(sizes: Sizes, files: list[bytes], side: int) -> list[Figure]:
    exact, scaled = (ConvBaseSpec(size=side, decode=decode) for decode in ("exact", "scaled"))
    jobs = {spec.decode: partial(_milliseconds, spec, files) for spec in (exact, scaled)}
    measured = alternate(f"ms at {side}", sizes.rounds, jobs)
    differences = [float(np.abs(exact.decode_image(data) - scaled.decode_image(data)).mean()) for data in files]
    note = f"{len(files)} JPEGs of {np.mean([len(data) for data in files]) / 1e6:.1f} MB, in memory"
    at = f"{side}x{side}"
    return [
        figure(f"decoding.exact.{side}", f"12 megapixels to {at}, exact", measured["exact"], "ms", note=note),
        figure(f"decoding.scaled.{side}", f"12 megapixels to {at}, scaled", measured["scaled"], "ms"),
        figure(
            f"decoding.times.{side}",
            f"12 megapixels to {at}: scaled, times faster",
            ratios(measured["exact"], measured["scaled"]),
            "x",
        ),
        figure(
            f"decoding.difference.{side}",
            f"12 megapixels to {at}: mean absolute difference",
            differences,
            "grey levels",
        ),
    ]


def _milliseconds(spec: ConvBaseSpec, files: list[bytes]) -> float:
    """Return the mean milliseconds of decoding a file."""
    return 1000 * seconds_of(lambda: [spec.decode_image(data) for data in files]) / len(files)


def _enlarge(path: Path, size: tuple[int, int]) -> bytes:
    """Return a JPEG of a photo enlarged to `size`, width and height, with the grain that large photos have."""
    with Image.open(path) as photo:
        pixels = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(0).normal(0, GRAIN, (*pixels.shape[:2], 1)).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
