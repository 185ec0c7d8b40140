"""The built-in sample: scikit-learn's handwritten digits, as image files in class folders.

1,797 scans of 8x8 pixels in ten classes, from the Optical Recognition of Handwritten Digits data
set of the UCI Machine Learning Repository (E. Alpaydin, C. Kaynak, 1998), which scikit-learn ships.
"""

import os
from pathlib import Path

import numpy as np

from pipeline.files.durable import make_directory, temporary_path

SIDE = 32  # pixels; each of the 8x8 pixels is repeated 4x4 times


def write_sample(directory: str | Path) -> None:
    """Write the digits as PNG files, `directory/0/0000.png` and so on, unless the folder exists.

    The folder gets its name when it is complete.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    directory = Path(directory)
    if directory.exists():
        return
    make_directory(directory.parent)
    digits, temporary = load_digits(), temporary_path(directory)
    grey = (digits.images * (255 / 16)).round().astype(np.uint8).repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)
    for i, (image, label) in enumerate(zip(grey, digits.target, strict=True)):
        folder = temporary / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:04d}.png")
    os.replace(temporary, directory)
