"""A conv base that needs no TensorFlow, and folders of photos to feed it."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.conv_base.spec import WEIGHTS_WORDS, ConvBaseSpec
from pipeline.errors import SpecError
from pipeline.extraction import extract
from pipeline.extraction.callbacks import Callbacks
from pipeline.files.durable import sha256_of_file
from pipeline.images.table import ImageTable
from pipeline.store import FeatureStore

FEATURE_SHAPE = (2, 2, 3)
SPEC = ConvBaseSpec(size=(8, 8), store_dtype="float32")


class FakeConvBase:
    """Average each quarter of an image and count the images."""

    seen = 0
    loads = 0
    auto = "float32"  # the precision that "auto" resolves to
    error = 0.0  # relative error of a shorter float; 0 for a number that depends on the measured images

    def __init__(self, spec: ConvBaseSpec):
        if spec.cut not in (None, "inner"):
            raise SpecError(f"no layer {spec.cut!r}")
        FakeConvBase.loads += 1
        precision = self.auto if spec.precision == "auto" else spec.precision
        weights = {"imagenet": "1" * 64, "random": "2" * 64}.get(spec.weights)
        if weights is None:
            weights = f"{Path(spec.weights).read_text():0<64}"
        self.spec = replace(spec, precision=precision, weights_sha256=weights)
        self.feature_shape = FEATURE_SHAPE
        self.sources = {"conv_base": spec.conv_base, "weights": spec.weights}
        if spec.weights not in WEIGHTS_WORDS:
            self.sources["weights_file_sha256"] = sha256_of_file(Path(spec.weights))

    def compute(self, batch: np.ndarray) -> np.ndarray:
        """(b, h, w, 3) -> (b, 2, 2, 3), float32."""
        used = batch.reshape(len(batch), -1).any(axis=1)
        FakeConvBase.seen += int(used.sum())
        b, h, w, c = batch.shape
        return batch.reshape(b, 2, h // 2, 2, w // 2, c).mean(axis=(2, 4)).astype(np.float32)

    def error_against_float32(self, images: np.ndarray) -> float:
        """Return `error` if it is set, else the mean of the images."""
        return self.error or float(images.mean())


def extract_features(
    images: ImageTable, directory: Path, spec: ConvBaseSpec = SPEC, *, batch_size: int = 4, **options: Any
) -> FeatureStore:
    """Run stage one with small images, batches and, by default, float32."""
    return extract.extract_features(images, directory, spec, batch_size=batch_size, **options)


def photo(seed: int, *, size: tuple[int, int] = (24, 18), format: str = "PNG") -> bytes:
    """Return the file of a small image of random colours, none of them black."""
    pixels = np.random.default_rng(seed).integers(1, 255, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def photo_folder(root: Path, per_class: int = 10, classes: tuple[str, ...] = ("cats", "dogs")) -> Path:
    """Write class folders with different photos in each."""
    for class_index, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            (root / name / f"{i:03d}.png").write_bytes(photo(1000 * class_index + i))
    return root


def check_here(check: Callable[..., None], path: Path, *arguments: Any, **limits: float) -> None:
    """Call `check(path, *arguments)` with the errors of `check_in_child`, but in this process."""
    try:
        check(path, *arguments)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


class Recorder(Callbacks):
    """Record the calls of `progress` and of `rows_recomputed`."""

    def __init__(self, progress: list[tuple[Any, ...]], recomputed: list[tuple[int, float]] | None = None):
        self.calls, self.recomputed = progress, recomputed

    def progress(self, *call: Any) -> None:
        self.calls.append(call)

    def rows_recomputed(self, rows: int, largest: float) -> None:
        if self.recomputed is not None:
            self.recomputed.append((rows, largest))
