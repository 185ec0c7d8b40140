"""Pictures to find duplicates among, and stores of them."""

import shutil

import numpy as np
from PIL import Image, ImageFilter

from pipeline import ConvBaseSpec, extract_features, open_features, scan_images

SPEC = ConvBaseSpec(size=32)


def scene(seed, size=(60, 48)):
    """Return a picture with large shapes, as photos have them."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 230, (6, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return coarse.filter(ImageFilter.GaussianBlur(1))


def put(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def store_of(folder, cache=None):
    cache = cache or folder.parent / "cache"
    extract_features(scan_images(folder), cache, SPEC)
    return open_features(cache)


def copy_file(folder, source, target):
    (folder / target).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / source, folder / target)
