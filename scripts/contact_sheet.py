"""Draw a few images and their views as one PNG: python scripts/contact_sheet.py PHOTOS SHEET.png [KEY=VALUE ...].

Each row shows one image, first the image itself and then augmented copies. KEY=VALUE are the
settings of `features --augment`.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline import scan_images
from pipeline.cli.exit import one_line_errors
from pipeline.cli.option_types import key_value
from pipeline.errors import ImagesError
from pipeline.images.augment import Augmentation, View, augment
from pipeline.images.decode import DecodeError, decode_image

SIDE, GAP = 100, 4  # pixels
IMAGES, VIEWS = 3, 8


def main(photos: str, sheet: str, settings: Mapping[str, Any]) -> None:
    """Draw the sheet."""
    images, augmentation = scan_images(photos), Augmentation.from_settings(settings)
    chosen = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(int)
    rows = []
    for path, content in ((images.paths[i], images.contents[i].tobytes()) for i in chosen.tolist()):
        try:
            pixels = decode_image(Path(path).read_bytes(), (SIDE, SIDE))
        except DecodeError as error:
            raise ImagesError(f"{path}: {error}; repair or remove it") from error
        copies = [augment(pixels, content, View(number, augmentation)) for number in range(1, VIEWS)]
        rows.append(np.hstack([_add_frame(view) for view in (pixels, *copies)]))
    Image.fromarray(np.vstack(rows).round().astype(np.uint8)).save(sheet, "PNG")


def _add_frame(pixels: np.ndarray) -> np.ndarray:
    return np.pad(pixels, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw a few images and their views.")
    parser.add_argument("photos")
    parser.add_argument("sheet")
    parser.add_argument("settings", nargs="*", type=key_value, metavar="KEY=VALUE")
    options = parser.parse_args()
    with one_line_errors("contact_sheet"):
        main(options.photos, options.sheet, dict(options.settings))
