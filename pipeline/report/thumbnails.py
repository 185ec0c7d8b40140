"""Small pictures of a store's images, made from the images themselves."""

from __future__ import annotations

import base64
import contextlib
import io
import os
from collections.abc import Iterable

import numpy as np
from PIL import Image

from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.decode_ahead import Task, decode_ahead
from pipeline.report.html import Markup, tag
from pipeline.store import FeatureStore

SIDE = 160  # pixels of the longer side
QUALITY = 78  # of JPEG: 3 to 7 kB each


def thumbnails(store: FeatureStore, members: Iterable[int], callbacks: Callbacks) -> dict[int, Markup]:
    """An `img` of each image, or a placeholder that says why there is none.

    An image that is no longer the one of the index, by its sha256, is not shown.

    Parameters
    ----------
    store : FeatureStore
    members : iterable of int
        Indices into `store.images`.
    callbacks : Callbacks, optional
    """
    wanted = list(dict.fromkeys(members))
    found = {}
    tasks = [_task(store, member) for member in wanted]
    workers = os.cpu_count() or 1
    with contextlib.closing(decode_ahead(tasks, _within, "antialias", workers=workers, ahead=4 * workers)) as decoded:
        for done, one in enumerate(decoded, 1):
            id = one.task.id or ""
            found[one.task.row] = _gone(one.reason) if one.pixels is None else _img(one.pixels, id)
            callbacks.progress("making thumbnails", done, len(wanted), "thumbnails")
    return found


def _task(store: FeatureStore, member: int) -> Task:
    id = store.images.ids[member]
    path = os.path.join(store.images.root, id)  # noqa: PTH118  # as the other paths of images
    return Task(member, store.images.contents[member].tobytes(), id, path)


def _within(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _img(pixels: np.ndarray, id: str) -> Markup:
    picture, jpeg = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)), io.BytesIO()
    picture.save(jpeg, "JPEG", quality=QUALITY, optimize=True)
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg.getbuffer()).decode()}"
    return tag("img", src=source, alt=f"image {id}", width=picture.width, height=picture.height)


def _gone(reason: str) -> Markup:
    return tag("span", f"no picture: {reason}", class_="gone")
