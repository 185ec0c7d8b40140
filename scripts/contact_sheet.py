"""A few images and their views as one PNG: python scripts/contact_sheet.py PHOTOS SHEET.png [KEY=VALUE ...].

A row an image, the image itself first; KEY=VALUE are settings as of `features --augment`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import scan_images
from pipeline.arguments.kinds import key_value
from pipeline.augment import Augmentation, View, augment
from pipeline.decode import decode_image

SIDE, GAP = 100, 4  # pixels
IMAGES, VIEWS = 3, 8


def main(photos: str, sheet: str, *settings: str) -> None:
    """Draw the sheet."""
    images, augmentation = scan_images(photos), Augmentation.of(dict(map(key_value, settings)))
    chosen = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(int)
    rows = []
    for path, content in ((images.paths[at], images.contents[at].tobytes()) for at in chosen.tolist()):
        pixels = decode_image(Path(path).read_bytes(), (SIDE, SIDE))
        copies = [augment(pixels, content, View(number, augmentation)) for number in range(1, VIEWS)]
        rows.append(np.hstack([_framed(one) for one in (pixels, *copies)]))
    Image.fromarray(np.vstack(rows).round().astype(np.uint8)).save(sheet)


def _framed(pixels: np.ndarray) -> np.ndarray:
    return np.pad(pixels, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main(*sys.argv[1:])
