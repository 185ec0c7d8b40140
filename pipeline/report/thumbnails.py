"""Thumbnails of a store's images, as data URIs."""

import base64
import contextlib
import io
import os
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.decode_ahead import Task, decode_ahead
from pipeline.images.decode import decode_image
from pipeline.store import FeatureStore

MAX_SIDE = 160  # pixels
QUALITY = 78  # of JPEG: 3 to 7 kB per image


class Thumbnail(NamedTuple):
    """A small picture of an image; `uri` is empty if there is none, and `reason` says why."""

    uri: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


def make_thumbnails(store: FeatureStore, images: Iterable[int], callbacks: Callbacks) -> dict[str, Thumbnail]:
    """Make a thumbnail of each image; the keys of the result are the ids.

    `images` are indices into `store.images`. An image whose file was changed after the scan gets no picture:
    its features are not those of the file.
    """
    ids, contents, root = store.images.ids, store.images.contents, store.images.root
    # Paths are joined as stage one joins them.
    tasks = [
        Task(i, contents[i].tobytes(), ids[i], os.path.join(root, ids[i]))  # noqa: PTH118
        for i in dict.fromkeys(images)
    ]
    thumbnails = {}
    decode = partial(decode_image, size=thumbnail_size, resize="antialias")
    with contextlib.closing(decode_ahead(tasks, decode, workers=None, ahead=64)) as pictures:
        for done, item in enumerate(pictures, 1):
            thumbnail = Thumbnail(reason=item.reason) if item.pixels is None else _compress(item.pixels)
            thumbnails[ids[item.task.row]] = thumbnail
            callbacks.progress("making thumbnails", done, len(tasks), "thumbnails")
    return thumbnails


def thumbnail_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width of an image's thumbnail in pixels."""
    scale = min(1.0, MAX_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _compress(pixels: np.ndarray) -> Thumbnail:
    picture, jpeg = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)), io.BytesIO()
    picture.save(jpeg, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(jpeg.getbuffer()).decode()}", *picture.size)
