"""Measure a candidate: fill its store with the images of a subset, score it, export it, count its parameters."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.comparison.candidate import AnyCandidate, Candidate, JoinedCandidate, RefusedSpec
from pipeline.comparison.records import Record, Records, Score, Step
from pipeline.comparison.score import score_store
from pipeline.comparison.stage_timer import StageTimer
from pipeline.comparison.subset import Subset, choose_subset
from pipeline.conv_base import load
from pipeline.errors import ExportError, HeadError, SpecError
from pipeline.export import export_model
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.extract import extract_features
from pipeline.images.equal_contents import first_equal
from pipeline.images.status import Status
from pipeline.images.table import ImageTable
from pipeline.joined.join_stores import join_stores
from pipeline.store import FeatureStore, open_features
from pipeline.store.file_names import MANIFEST

TIMED = 256  # images whose time is measured where a store was filled before and its speed is not known


@dataclass
class Measurer:
    """Measures candidates; `save` is called after each measurement."""

    images: ImageTable
    directory: Path
    heads: tuple[str, ...]
    records: Records
    callbacks: Callbacks
    save: Callable[[], None]

    def measure(self, candidate: AnyCandidate, subset: Subset) -> FeatureStore:
        """Measure what is not known yet, and return the store; a PipelineError says why this is impossible."""
        store = self.fill(candidate, subset.measured)
        record = self.records[store.fingerprint]
        if record.timing is None and isinstance(candidate, Candidate):
            self._time(candidate, subset, record)
        head = None
        if self.key(subset) not in record.scores:
            record.scores[self.key(subset)], head = score_store(store, subset, self.heads, self.callbacks)
            self.save()
        name = record.scores[self.key(subset)].head
        if (model := self.model_key(name)) not in record.model_bytes:
            head = head or score_store(store, subset, (name,), self.callbacks)[1]
            self.callbacks.progress("exporting", 0, 1, "models")
            record.model_bytes[model] = _exported_bytes(store, head, candidate.precision)
            self.callbacks.progress("exporting", 1, 1, "models")
        if isinstance(candidate, Candidate) and (base := _base_key(store)) not in self.records.parameters:
            self.records.parameters[base] = _count_parameters(candidate)
        self.save()
        return store

    def key(self, subset: Subset) -> str:
        """Return the key of the scores on a subset."""
        return f"{subset.key} {','.join(self.heads)}"

    def model_key(self, head: str) -> str:
        """Return the key of the size of a model with a head, which depends on the number of classes."""
        return f"{head} {len(self.images.classes)}"

    def score(self, store: FeatureStore, subset: Subset) -> Score | None:
        """Return the score of a store on a subset, if it is known."""
        return self.records[store.fingerprint].scores.get(self.key(subset))

    def score_again(self, store: FeatureStore, subset: Subset, head: str) -> tuple[Score, Any]:
        """Train a head again and score it on the test images, too."""
        return score_store(store, subset, (head,), self.callbacks, with_test=True)

    def parameters(self, store: FeatureStore) -> int | None:
        """Return the parameters of the conv base of a store, None if it is not a Keras model."""
        return self.records.parameters.get(_base_key(store))

    def fill(self, candidate: AnyCandidate, members: np.ndarray, *, is_test: bool = False) -> FeatureStore:
        """Add images to the store of a candidate, in addition to those that it has.

        With `is_test`, the time does not count: only the recommended row gets test images.
        """
        if isinstance(candidate, JoinedCandidate):
            parts = [self.fill(part, members, is_test=is_test) for part in candidate.parts]
            return join_stores(parts, self.directory / candidate.name, callbacks=self.callbacks)
        if isinstance(candidate, RefusedSpec):
            raise SpecError(candidate.problem)
        path = self.directory / candidate.name
        old = open_features(path) if (path / MANIFEST).is_file() else None
        wanted = members if old is None else np.union1d(members, self._images_of(old))
        timer, estimated = StageTimer(self.callbacks), None
        if old is not None and (timing := self.records[old.fingerprint].timing):
            estimated = timing.seconds_for(self._missing(old, members))
        try:
            store = extract_features(self._take(wanted), path, candidate.spec, callbacks=timer)
        finally:
            seconds = timer.seconds()
            if timer.times and (path / MANIFEST).is_file() and not is_test:
                record = self.records[open_features(path).fingerprint]
                # Where there was no store, the times are those of one that was removed.
                record.steps = [*([] if old is None else record.steps), Step(len(timer.times), seconds, estimated)]
                self.save()
        if old is None:
            self.records[store.fingerprint].timing = timer.timing(seconds)
        return store

    def estimate(self, store: FeatureStore, subset: Subset, scored: Score) -> float:
        """Estimate the seconds to bring a store that was scored on fewer images to a subset, and to score it."""
        timing = self.records[store.fingerprint].timing
        stage_one = timing.seconds_for(self._missing(store, subset.measured)) if timing else 0.0
        return stage_one + scored.seconds * len(subset.of_split("validation")) / len(scored.outcomes)

    def seconds(self, store: FeatureStore) -> tuple[float | None, float | None]:
        """Return the seconds of stage one on all train and validation images.

        They are estimated, and measured where the comparison brought the store to all of them.
        """
        n, record = self._different_images, self.records[store.fingerprint]
        timing, steps = record.timing, record.steps
        first = min(steps[0].images, n) if steps else n
        estimated = None if timing is None else timing.seconds_of_all(n, first)
        is_all = sum(step.images for step in steps) >= n and not self._missing(store, self.everything.measured)
        return estimated, sum(step.seconds for step in steps) if is_all else None

    @cached_property
    def everything(self) -> Subset:
        """All images."""
        return choose_subset(self.images, None)

    @cached_property
    def _different_images(self) -> int:
        return len(np.unique(first_equal(self.images.contents[self.everything.measured])))

    def _time(self, candidate: Candidate, subset: Subset, record: Record) -> None:
        """Measure the speed on a temporary store."""
        members, timer = subset.measured[:: max(1, len(subset.measured) // TIMED)], StageTimer(self.callbacks)
        with tempfile.TemporaryDirectory() as directory:
            extract_features(self._take(members), Path(directory, "store"), candidate.spec, callbacks=timer)
        record.timing = timer.timing(timer.seconds())
        self.save()

    def _take(self, members: np.ndarray) -> ImageTable:
        return replace(self.images.take(members), skipped=())

    def _images_of(self, store: FeatureStore) -> np.ndarray:
        """Return the images of the table whose content is in a store."""
        known = set(store.images.content_keys())
        return np.array([i for i, key in enumerate(self.images.content_keys()) if key in known], np.int64)

    def _missing(self, store: FeatureStore, members: np.ndarray) -> int:
        """Count the different images that a store does not hold."""
        computed = store.index.contents[store.row_status != Status.NEVER_WRITTEN]
        known = {content.tobytes() for content in computed}
        return len({self.images.contents[i].tobytes() for i in members.tolist()} - known)


def _exported_bytes(store: FeatureStore, head: Any, precision: str) -> int | None:
    """Return the size of the model of a store and a head; None if it cannot be exported."""
    suffix = ".tflite" if precision == "int8" else ".keras"
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, f"model{suffix}")
        try:
            export_model(store, head, file)
        except (ExportError, HeadError, SpecError):
            return None
        return file.stat().st_size


def _base_key(store: FeatureStore) -> str:
    spec = store.manifest.spec
    return f"{spec['weights_sha256']} {spec['cut']}"


def _count_parameters(candidate: Candidate) -> int | None:
    if candidate.spec.kind == "onnx":
        return None
    conv_base = load.load_conv_base(replace(candidate.spec, precision="float32"))
    model: Any = getattr(conv_base, "model", None)
    return int(model.count_params()) if hasattr(model, "count_params") else None
