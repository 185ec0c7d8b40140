import pytest
from PIL import Image, ImageEnhance, ImageOps

from tests.duplicates.pictures import put, scene


@pytest.fixture
def folder(tmp_path):
    """Write thirty pictures into split folders."""
    root = tmp_path / "photos"
    for seed in range(30):
        label, split = ("cats", "dogs")[seed % 2], ("train", "train", "validation")[seed % 3]
        put(root / split / label / f"{seed:02d}.png", scene(seed))
    return root


@pytest.fixture
def copies(folder):
    """Write near copies of one picture; return the id of the original by the id of each copy."""
    original = scene(0)
    small = original.resize((48, 38), Image.Resampling.LANCZOS)
    bright = ImageEnhance.Brightness(original).enhance(1.05)
    made = {"again": original, "bright": bright, "mirrored": ImageOps.mirror(original), "small": small}
    for name, image in made.items():
        put(folder / "validation" / "dogs" / f"{name}.jpg", image, quality=90)
    return {f"validation/dogs/{name}.jpg": "train/cats/00.png" for name in made}
