"""Label new images with a saved head; their features are computed as in stage one."""

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np

from pipeline.conv_base.joined_conv_base import JoinedConvBase
from pipeline.defaults import EXTRACT_BATCH
from pipeline.errors import HeadError, StoreError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.conv_base_loading import AnyConvBase, load_any_conv_base
from pipeline.extraction.decode_ahead import Task
from pipeline.extraction.run_conv_base import Row, compute_tasks
from pipeline.extraction.view_plan import plan_views
from pipeline.heads.load_head import load_head
from pipeline.heads.shared_features import SharedFeatures
from pipeline.images.augment import View
from pipeline.images.status import Status
from pipeline.images.unlabelled import find_images
from pipeline.predict.prediction import Prediction
from pipeline.predict.unknown_images import UnknownDetector
from pipeline.store import NO_ROW, FeatureStore, open_features
from pipeline.training.best_head import choose_head
from pipeline.training.saved_heads import advise_training

MAX_BLOCK_ROWS = 1024  # images that a head labels together
MAX_BLOCK_BYTES = 2**26  # of their features


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
    """Label images one after the other, in the given order.

    Images are found, read, computed and labelled while the predictions are iterated over; memory does
    not grow with their number. An image whose content is in the store is not computed again.

    Parameters
    ----------
    directory : path
        A store with trained heads.
    paths : path or iterable of path
        Images, folders of any layout, and CSV files with a column `path`; see `find_images`.
    head : str, optional
        Name of a saved head; by default the head with the best validation accuracy.
    unknown : float, optional
        Quantile, such as 0.99. The distance of each image from the training images is measured, and
        an image is unknown if its distance exceeds this quantile of the training images' own distances.
    views : int
        Number of views of each image whose probabilities are averaged: the image itself and augmented
        copies, made with the settings of the store's views. Each view costs a forward pass.
    batch_size : int
        Images in a forward pass. It changes no value.
    workers : int, optional
        Threads that decode images; by default one for each core.
    callbacks : Callbacks, optional
        `conv_base_loading` is called.

    Yields
    ------
    Prediction
        One for each image, also for an image that cannot be used.

    Raises
    ------
    StoreError, StoreDamaged
        At the call: there is no store, or it is damaged. During the iteration: a shard is damaged.
    HeadError, StoreMismatch
        At the call: there is no such head, it is damaged, or it was trained on other features.
    SpecError, StoreMismatch
        During the iteration: the conv base cannot be loaded, or is not the one of the store.
    ImagesError
        During the iteration: a folder cannot be listed, or a CSV file cannot be read.
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
    """A store and one of its heads, ready to label images; see `predict_images` for the parameters."""

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
        self.store, self.batch_size, self.workers, self.callbacks = store, batch_size, workers, callbacks
        self.head_name = choose_head(store, head).name
        directory = store.heads_directory / self.head_name
        self.head = load_head(directory, fingerprint=store.fingerprint)
        if not hasattr(self.head, "predict_proba"):
            raise HeadError(f"the head in {directory} has no probabilities; {advise_training(store)}")
        # The classes of the store and of the head, sorted by name.
        self.classes = tuple(sorted({*store.classes, *self.head.class_names_}))
        self._columns = [self.classes.index(self.head.class_names_[label]) for label in self.head.classes_]
        self._loading = Lock()
        self._detector = None if unknown is None else UnknownDetector(store, unknown)
        self.threshold = float("inf") if self._detector is None else self._detector.threshold
        if views > 1 and store.is_joined:
            raise StoreError(f"{store.directory} is joined, and takes each image itself alone: leave --views out")
        copies = plan_views(store.directory, views, None)
        self.views: list[View | None] = [None, *copies]
        # Everything that the predictions depend on, for JSON.
        self.made_by = [store.manifest.index_sha256, store.fingerprint, self.head.model_sha256_, unknown]
        self.made_by += [copy.identity() for copy in copies]

    def predict(self, paths: Iterable[str]) -> Generator[Prediction]:
        """Label image files, in order. Close the generator to stop the threads that decode."""
        rows = compute_tasks(
            (Task(NO_ROW, None, path, path, view) for path in paths for view in self.views),
            self.store,
            self._compute,
            batch_size=self.batch_size,
            workers=self.workers,
            row_of=self.store.rows_by_content(),
        )
        with contextlib.closing(rows):
            for block in self._collect_blocks(rows):
                yield from self._label_block(block)

    def _compute(self, images: np.ndarray) -> np.ndarray:
        with self._loading:  # several threads compute in int8
            conv_base = self._conv_base
        return conv_base.compute(images)

    @cached_property
    def _conv_base(self) -> AnyConvBase | JoinedConvBase:
        """The conv base, which is loaded when the first image is computed."""
        return load_any_conv_base(self.store, self.callbacks)

    def _collect_blocks(self, rows: Iterable[Row]) -> Iterator[list[Row]]:
        """Collect the rows of whole images: many of those that the store has, or one computed batch."""
        max_rows = max(self.batch_size, min(MAX_BLOCK_ROWS, MAX_BLOCK_BYTES // self.store.bytes_per_row))
        block: list[Row] = []
        computed = 0
        for row in rows:
            block.append(row)
            computed += row.features is not None
            is_full = len(block) >= max_rows or computed >= self.batch_size
            if is_full and len(block) % len(self.views) == 0:
                yield block
                block, computed = [], 0
        if block:
            yield block

    def _label_block(self, block: list[Row]) -> Iterator[Prediction]:
        views = [block[i : i + len(self.views)] for i in range(0, len(block), len(self.views))]
        # A copy of a usable image may have no finite features: the image itself takes its place.
        usable = [
            row if row.status == Status.OK else image
            for image, *copies in views
            if image.status == Status.OK
            for row in (image, *copies)
        ]
        predictions = self._predict_rows(usable) if usable else iter(())
        for image, *_ in views:
            if image.status == Status.OK:
                yield next(predictions)
            else:
                reason = "no such file" if image.status == Status.NEVER_WRITTEN else image.reason
                yield Prediction(str(image.task.path), None, None, {}, reason, sha256=_sha256(image))

    def _predict_rows(self, rows: list[Row]) -> Iterator[Prediction]:
        store_rows = np.array([row.task.row for row in rows])
        is_stored = store_rows != NO_ROW
        array = np.empty((len(rows), *self.store.feature_shape), self.store.dtype)
        array[is_stored] = self.store.read_rows(store_rows[is_stored])
        for i in np.flatnonzero(~is_stored).tolist():
            array[i] = rows[i].features
        features = SharedFeatures(array)
        probabilities = np.zeros((len(rows), len(self.classes)))
        probabilities[:, self._columns] = self.head.predict_proba(features)
        views = len(self.views)
        probabilities = probabilities.reshape(-1, views, len(self.classes)).mean(axis=1)  # (images, classes)
        distances: list[float | None] = [None] * len(probabilities)
        if self._detector is not None:
            distances = self._detector.distances(features.pooled("avg")[::views], store_rows[::views]).tolist()
        for row, image_probabilities, distance in zip(rows[::views], probabilities, distances, strict=True):
            best = int(image_probabilities.argmax())
            yield Prediction(
                path=str(row.task.path),
                label=self.classes[best],
                probability=float(image_probabilities[best]),
                probabilities=dict(zip(self.classes, image_probabilities.tolist(), strict=True)),
                distance=distance,
                unknown=None if distance is None else distance > self.threshold,
                sha256=_sha256(row),
            )


def _sha256(row: Row) -> str:
    return row.task.content.hex() if row.task.content else ""
