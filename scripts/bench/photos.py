"""The images of the bench: synthetic photos or the user's own, and large numbers of tiny images."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import scan_images
from pipeline.errors import ImagesError
from pipeline.images.decode import DecodeError, decode_image
from pipeline.images.table import ImageTable

QUALITY, GRAIN = 85, 3.0  # lead to photos of about 22 kB at about 400 x 360 pixels
OCTAVES = (3, 6, 12, 24, 48, 96)
MIN_PHOTOS = 20
CLASS_FOLDERS = 10


def make_photos(folder: Path, n: int) -> str:
    """Write n synthetic photos of two classes; returns a description."""
    sizes = [_write_photo(folder, number, (f"class_{_class_of(number)}", _synthesize(number))) for number in range(n)]
    return f"{n} synthetic JPEGs of about 400 x 360 pixels and {np.mean(sizes) / 1000:.0f} kB"


def draw_photos(data: Path, folder: Path, n: int) -> str:
    """Copy at most n different photos of the two largest classes in `data`; returns a description.

    Raises
    ------
    ImagesError
        There are too few JPEGs that both this package and TensorFlow can decode.
    """
    images = scan_images(data)
    counts = np.bincount(images.labels[images.labels >= 0])
    classes = sorted(np.argsort(-counts, kind="stable")[:2].tolist())
    drawn = [_draw_jpegs(images, label) for label in classes]
    sizes = []
    for number in range(n):
        content = next(drawn[_class_of(number)], None)
        if content is None:
            break
        sizes.append(_write_photo(folder, number, (images.classes[classes[_class_of(number)]], content)))
    if len(sizes) < MIN_PHOTOS:
        raise ImagesError(f"{data} has {len(sizes)} JPEGs to measure on, {MIN_PHOTOS} are needed; leave DATA out")
    return f"{len(sizes)} JPEGs of {data}, {np.mean(sizes) / 1000:.0f} kB on average"


def link_photos(photos: Path, folder: Path, n: int) -> int:
    """Link the first n photos into `folder`; returns their number."""
    paths = sorted(photos.glob("*/*/*.jpg"), key=lambda path: path.name)[:n]
    for path in paths:
        link = folder / path.relative_to(photos)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, link)
    return len(paths)


def make_tiny(folder: Path, n: int, side: int, start: int = 0) -> None:
    """Write different PNGs of `side` x `side` pixels into class folders, with the numbers `start` to n - 1."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    png = file.getvalue()
    for name in range(CLASS_FOLDERS):
        (folder / str(name)).mkdir(parents=True, exist_ok=True)
    for number in range(start, n):
        path = folder / str(number % CLASS_FOLDERS) / f"{number:07d}.png"
        path.write_bytes(png + number.to_bytes(8, "big"))  # decoders ignore bytes after the end


def _class_of(number: int) -> int:
    return number // 5 % 2


def _write_photo(folder: Path, number: int, photo: tuple[str, bytes]) -> int:
    """Write a photo into its split, every fifth into validation; returns its size in bytes."""
    label, content = photo
    path = folder / ("validation" if number % 5 == 4 else "train") / label / f"{number:06d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_bytes(content)


def _synthesize(seed: int) -> bytes:
    """Return a JPEG of random colour clouds with the spectrum of photos, and noise."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers((320, 360), (400, 440)))
    pixels = np.full((height, width, 3), 128.0, np.float32)
    for side in OCTAVES:
        coarse = rng.normal(128, 32, (side, side, 3)) + rng.normal(
            0, 64, (side, side, 1)
        )  # more variation in brightness than in colour
        cloud = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        pixels += (np.asarray(cloud, np.float32) - 128) * (2.0 / side**0.75)
    pixels += rng.normal(0, GRAIN, (height, width, 1))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _draw_jpegs(images: ImageTable, label: int) -> Iterator[bytes]:
    """Yield different JPEGs of a class in random order, those that TensorFlow can decode too."""
    seen = set()
    keys = images.content_keys()
    for i in np.random.default_rng(0).permutation(np.flatnonzero((images.labels == label) & images.readable)):
        content = Path(images.paths[i]).read_bytes() if keys[i] not in seen else b""
        seen.add(keys[i])
        if content.startswith(b"\xff\xd8") and _is_decodable(content):
            yield content


def _is_decodable(content: bytes) -> bool:
    try:
        decode_image(content, (8, 8))
    except DecodeError:
        return False
    with Image.open(io.BytesIO(content)) as image:
        return image.mode in ("RGB", "L")
