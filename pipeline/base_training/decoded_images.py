"""Decode images once into a file that the epochs of a training read through a memory map."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.base_training.plan import decoded_bytes
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import TooManyBadImages
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.decode_ahead import Decoded, Task, decode_ahead
from pipeline.files.durable import canonical_json, read_json, sha256_of, sync_file, write_json
from pipeline.heads.rows_on_demand import ArrayRows
from pipeline.images.decode import DECODER
from pipeline.images.table import ImageTable

PIXELS, RECORD = "images.uint8", "images.json"
AHEAD = 64  # images that are decoded before they are written


class DecodedImages(NamedTuple):
    """Images in the order of a list of table indices, decoded to whole levels of RGB."""

    pixels: ArrayRows  # (n, height, width, 3), uint8, a memory map
    is_decoded: np.ndarray  # (n,), bool; the pixels of other rows are zeros


def has_decoded(directory: Path, images: ImageTable, used: np.ndarray, spec: ConvBaseSpec) -> bool:
    """Return whether a directory holds the images `used`, decoded by an earlier run."""
    return _read_bad(directory, _identity(images, used, spec)) is not None


def decode_images(
    directory: Path,
    images: ImageTable,
    used: np.ndarray,
    spec: ConvBaseSpec,
    *,
    max_bad: float,
    workers: int | None,
    callbacks: Callbacks,
) -> DecodedImages:
    """Decode images of a table, those with the indices `used`, (n,) int64, unless an earlier run has done it.

    The file of the pixels lies in `directory`; it is not in memory. Images that cannot be decoded are reported and
    left out; more of them than the fraction `max_bad` raise TooManyBadImages.
    """
    identity, shape = _identity(images, used, spec), (len(used), *spec.height_width, 3)
    if (bad := _read_bad(directory, identity)) is None:
        bad = _decode(directory, images, used, spec, workers, callbacks)
        write_json(directory / RECORD, {"identity": identity, "bad": bad})
    for row, reason in bad:
        callbacks.image_rejected(images.ids[used[row]], reason)
    if len(bad) > max_bad * len(used):
        raise TooManyBadImages(
            f"{images.root}: {len(bad)} of {len(used)} images cannot be used, more than {max_bad:.1%}; repair or "
            "remove them, or raise --max-bad"
        )
    is_decoded = np.ones(len(used), bool)
    is_decoded[[row for row, _ in bad]] = False
    return DecodedImages(ArrayRows(np.memmap(directory / PIXELS, np.uint8, "r", shape=shape)), is_decoded)


def _decode(
    directory: Path,
    images: ImageTable,
    used: np.ndarray,
    spec: ConvBaseSpec,
    workers: int | None,
    callbacks: Callbacks,
) -> list[tuple[int, str]]:
    """Write the pixels; return the rows without pixels and the reasons."""
    (directory / RECORD).unlink(missing_ok=True)
    bad, n = [], len(used)
    with open(directory / PIXELS, "w+b") as file:
        size = decoded_bytes(n, spec.height_width)
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a crash while pages are written
            os.posix_fallocate(file.fileno(), 0, size)
        array = np.memmap(file, np.uint8, "r+", shape=(n, *spec.height_width, 3))
        callbacks.progress("decoding", 0, n, "images")
        decoded = decode_ahead(
            _tasks(images, used), spec.decode_image, workers=workers, ahead=AHEAD, then=_round_pixels
        )
        with closing(decoded):
            for done, image in enumerate(decoded, start=1):
                if image.pixels is None:
                    bad.append((image.task.row, image.reason))
                else:
                    array[image.task.row] = image.pixels
                callbacks.progress("decoding", done, n, "images")
        array.flush()
    sync_file(directory / PIXELS)
    return bad


def _tasks(images: ImageTable, used: np.ndarray) -> Iterator[Task]:
    root = str(images.root)
    for row, i in enumerate(used.tolist()):
        id = images.ids[i]
        yield Task(row, images.contents[i].tobytes(), id, os.path.join(root, id))  # noqa: PTH118  # a million times


def _round_pixels(image: Decoded) -> Decoded:
    if image.pixels is None:
        return image
    return image._replace(pixels=np.rint(image.pixels).astype(np.uint8))  # bilinear: never beyond 0..255


def _identity(images: ImageTable, used: np.ndarray, spec: ConvBaseSpec) -> str:
    """Return the sha256 of all that the pixels depend on."""
    settings = {"size": list(spec.height_width), "resize": spec.resize, "decode": spec.decode, "decoder": DECODER}
    contents = sha256_of(images.contents[used].tobytes())
    return sha256_of(canonical_json({**settings, "contents": contents}).encode())


def _read_bad(directory: Path, identity: str) -> list[tuple[int, str]] | None:
    """Return the rows without pixels of an earlier run; None if it did not decode all images, or other ones."""
    try:
        record = read_json(directory / RECORD)
    except (OSError, ValueError):
        return None
    return [(row, reason) for row, reason in record["bad"]] if record["identity"] == identity else None
