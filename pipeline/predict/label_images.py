"""Label new images: decoded and computed as in stage one, labelled by a saved head."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.defaults import EXTRACT_BATCH
from pipeline.errors import HeadError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.compute_rows import Row, compute_rows
from pipeline.extraction.conv_base_loading import load_stored_conv_base
from pipeline.extraction.decode_ahead import Task, decode_ahead
from pipeline.extraction.view_plan import plan_views
from pipeline.heads.loading import load_head
from pipeline.heads.shared_features import SharedFeatures
from pipeline.images.augment import View
from pipeline.images.status import Status
from pipeline.images.unlabelled import find_images
from pipeline.predict.unknown_images import Neighbours
from pipeline.store import NO_ROW, FeatureStore, open_features
from pipeline.training.choose_head import choose_head

if TYPE_CHECKING:
    from pipeline.conv_base.load import ConvBase

BLOCK_ROWS = 1024  # images a head labels together
BLOCK_BYTES = 2**26  # of features


class Prediction(NamedTuple):
    """What a head makes of an image, or why it makes nothing of it.

    Attributes
    ----------
    path : str
    label : str or None
        The most probable class; None where the image cannot be used.
    probability : float or None
        Of that label.
    probabilities : dict of str to float
        Of every class, sorted by name; empty where the image cannot be used.
    error : str
        Why the image cannot be used; empty where it can.
    distance : float or None
        From the training images, see `Neighbours`; None where it was not asked for.
    unknown : bool or None
        Whether the distance is more than is usual among training images.
    """

    path: str
    label: str | None
    probability: float | None
    probabilities: dict[str, float]
    error: str = ""
    distance: float | None = None
    unknown: bool | None = None


def predict_images(
    directory: str | Path,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    head: str | None = None,
    *,
    unknown: float | None = None,
    views: int = 1,
    batch_size: int = EXTRACT_BATCH,
    workers: int | None = None,
    callbacks: Callbacks = SILENT,
) -> Iterator[Prediction]:
    """Label images one after the other, in the order given.

    Images are found, read, computed and labelled while the predictions are asked for; memory does
    not grow with their number. An image whose content the store has already is not computed again.

    Parameters
    ----------
    directory : path
        A store with trained heads.
    paths : path or iterable of path
        Images, folders of any layout, and CSV files with a column `path`; see `find_images`.
    head : str, optional
        The name of a saved head; the one of the best validation accuracy if not given.
    unknown : float, optional
        Measure how far each image lies from the training images, and flag those that are further
        away than this quantile (0.99, say) of the training images themselves.
    views : int
        Average the probabilities over so many views of each image: the image itself and augmented
        copies, made as the store's views are. Each view costs a forward pass.
    batch_size : int
        Images a forward pass; changes no value.
    workers : int, optional
        Threads that decode images; one a core if not given.
    callbacks : Callbacks, optional

    Yields
    ------
    Prediction
        One an image, a bad one included.

    Raises
    ------
    StoreError, StoreDamaged
        At the call: there is no store, or it is damaged. Later: a shard is.
    HeadError, StoreMismatch
        At the call: there is no such head, it is damaged, or of other features.
    SpecError, StoreMismatch
        Later: the conv base cannot be loaded, or is not the one the store was made with.
    ImagesError
        Later: a folder cannot be listed, or a CSV file cannot be read.
    """
    predictor = Predictor(
        open_features(directory),
        head,
        unknown=unknown,
        views=views,
        batch_size=batch_size,
        workers=workers,
        callbacks=callbacks,
    )
    sources = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    return predictor.predict(find_images(sources))


class Predictor:
    """A store and one of its heads, ready to label images; for the parameters see `predict_images`.

    Attributes
    ----------
    head_name : str
    classes : tuple of str
        Of the store, and of the head where it was trained when there were others; sorted.
    threshold : float
        The distance above which an image is unknown.
    made_by : list
        Whatever decides what is predicted, for JSON.
    """

    def __init__(
        self,
        store: FeatureStore,
        head: str | None = None,
        *,
        unknown: float | None = None,
        views: int = 1,
        batch_size: int = EXTRACT_BATCH,
        workers: int | None = None,
        callbacks: Callbacks = SILENT,
    ):
        self.store, self.batch_size, self.progress = store, batch_size, callbacks
        self.workers = workers or os.cpu_count() or 1
        self.head_name = choose_head(store, head).name
        place = store.heads_directory / self.head_name
        self.head = load_head(place, fingerprint=store.fingerprint)
        if not hasattr(self.head, "predict_proba"):
            again = f"train it again with `python -m pipeline heads {store.directory}`"
            raise HeadError(f"the head in {place} has no probabilities; {again}")
        self.classes = tuple(sorted({*store.classes, *self.head.class_names_}))
        self._columns = [self.classes.index(self.head.class_names_[label]) for label in self.head.classes_]
        self._neighbours = None if unknown is None else Neighbours(store, unknown)
        self.threshold = float("inf") if self._neighbours is None else self._neighbours.threshold
        copies = plan_views(store.directory, views, None)
        self.views: list[View | None] = [None, *copies]
        self.made_by = [store.manifest.index_sha256, store.fingerprint, self.head.model_sha256_, unknown]
        self.made_by += [copy.identity() for copy in copies]

    def predict(self, paths: Iterable[str]) -> Generator[Prediction]:
        """Label images, in order; close it to stop the threads that decode.

        Parameters
        ----------
        paths : iterable of str
            Of image files; for folders and CSV files see `find_images`.
        """
        with contextlib.closing(self._rows(paths)) as rows:
            for block in self._blocks(rows):
                yield from self._label(block)

    def _rows(self, paths: Iterable[str]) -> Generator[Row]:
        size, resize = self.store.spec.height_width, self.store.spec.resize
        decoded = decode_ahead(
            (Task(NO_ROW, None, path, path, view) for path in paths for view in self.views),
            size,
            resize,
            workers=self.workers,
            ahead=2 * self.batch_size,
            row_of=self.store.rows_by_content(),
        )
        with contextlib.closing(decoded):
            yield from compute_rows(
                decoded,
                lambda batch: self._conv_base.compute(batch),
                batch_shape=(self.batch_size, *size, 3),
                dtype=self.store.dtype,
            )

    @cached_property
    def _conv_base(self) -> ConvBase:
        return load_stored_conv_base(self.store, self.progress)

    def _blocks(self, rows: Iterable[Row]) -> Iterator[list[Row]]:
        """Rows to be labelled together: many where the store has them, a batch where they are computed."""
        most = max(self.batch_size, min(BLOCK_ROWS, BLOCK_BYTES // self.store.bytes_per_row))
        block: list[Row] = []
        computed = 0
        for row in rows:
            block.append(row)
            computed += row.features is not None
            full = len(block) >= most or computed >= self.batch_size
            if full and len(block) % len(self.views) == 0:
                yield block
                block, computed = [], 0
        if block:
            yield block

    def _label(self, block: list[Row]) -> Iterator[Prediction]:
        views = len(self.views)
        first = block[::views]
        # An image that is good itself may have a copy without finite features, or be gone in between.
        stand_ins = [row if row.status == Status.OK else first[at // views] for at, row in enumerate(block)]
        good = [row for at, row in enumerate(stand_ins) if first[at // views].status == Status.OK]
        labelled = iter(self._predictions(good) if good else [])
        for row in first:
            if row.status == Status.OK:
                yield next(labelled)
            else:
                gone = row.status == Status.NEVER_WRITTEN
                yield Prediction(str(row.task.path), None, None, {}, "no such file" if gone else row.reason)

    def _predictions(self, rows: list[Row]) -> Iterator[Prediction]:
        numbers = np.array([row.task.row for row in rows])
        features = SharedFeatures(self._features(rows, numbers))
        probabilities = np.zeros((len(rows), len(self.classes)))
        probabilities[:, self._columns] = self.head.predict_proba(features)
        views = len(self.views)
        probabilities = probabilities.reshape(-1, views, len(self.classes)).mean(axis=1)
        distances: list[float | None] = [None] * len(probabilities)
        if self._neighbours is not None:
            distances = self._neighbours.distances(features.pooled("avg")[::views], numbers[::views]).tolist()
        for row, shares, distance in zip(rows[::views], probabilities, distances, strict=True):
            best = int(shares.argmax())
            yield Prediction(
                path=str(row.task.path),
                label=self.classes[best],
                probability=float(shares[best]),
                probabilities=dict(zip(self.classes, shares.tolist(), strict=True)),
                distance=distance,
                unknown=None if distance is None else distance > self.threshold,
            )

    def _features(self, rows: list[Row], numbers: np.ndarray) -> np.ndarray:
        """What was computed, and what the store has, ndarray of shape (n, *feature_shape)."""
        features = np.empty((len(rows), *self.store.feature_shape), self.store.dtype)
        cached = numbers != NO_ROW
        features[cached] = self.store.read_rows(numbers[cached])
        for at in np.flatnonzero(~cached).tolist():
            features[at] = rows[at].features
        return features
