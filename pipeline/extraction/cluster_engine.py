"""`ClusterEngine`: computes features on the workers of a cluster; see `LocalEngine` for what its methods do."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from pipeline.cluster import Cluster, Result, TaskRun, Worker
from pipeline.conv_base.spec import WEIGHTS_WORDS, ConvBaseSpec
from pipeline.conv_base.start_tensorflow import start_tensorflow_quietly
from pipeline.errors import ClusterFailed
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.conv_base_loading import ConvBaseDescription
from pipeline.extraction.decode_ahead import Task, list_tasks, read_image
from pipeline.extraction.image_counter import ImageCounter
from pipeline.extraction.plan import ExtractionPlan
from pipeline.extraction.quantize_conv_base import CALIBRATED
from pipeline.extraction.shard_task import (
    EngineCall,
    Job,
    ShardTask,
    call_engine,
    compute_shard,
    load_ahead,
    without_shards,
)
from pipeline.files.durable import make_directory
from pipeline.images.decode import DecodeError
from pipeline.images.status import UNREAD
from pipeline.store import Receipt, StoreLayout, StoreWriter
from pipeline.store.file_names import SHARDS

logger = logging.getLogger(__name__)
WORDS = {  # for messages
    "load_new": "loading the conv base",
    "load_again": "loading the conv base",
    "load_stored": "loading the conv base",
    "settle_precision": "settling the precision",
    "compute_probe": "computing the probe",
    "recompute": "computing rows again",
    "estimate_seconds": "measuring the speed",
}
MAX_NAMED = 5  # ranges in an error message
MAX_CALIBRATION = 1000  # images that are sent to calibrate int8 on, should the first ones not be usable


class ClusterEngine:
    """Loads conv bases and computes features on the workers of a cluster, never in this process.

    With `mixed`, workers are admitted whose features differ from the store's within the tolerance of its precision.
    """

    def __init__(self, cluster: Cluster, batch_size: int, workers: int | None, mixed: bool, callbacks: Callbacks):
        self.cluster, self.batch_size, self.mixed, self.callbacks = cluster, batch_size, mixed, callbacks
        self.workers = workers or cluster.cores_per_worker
        self._token = uuid4().hex  # tells this run from others on the same workers
        self._history: tuple[tuple[str, tuple[Any, ...]], ...] = ()  # the calls that loaded the conv base
        self.spec = ConvBaseSpec()  # where the conv base is loaded from

    def load_new(self, spec: ConvBaseSpec) -> ConvBaseDescription:
        self._set_spec(spec)
        described = self._load("load_new", self.spec)
        if spec.precision != "int8":  # the other workers load an int8 conv base from the store, when it is there
            settled = {"precision": described.spec.precision, "weights_sha256": described.spec.weights_sha256}
            self._load_elsewhere("load_new", replace(self.spec, **settled))
        return described

    def settle_precision(
        self, spec: ConvBaseSpec, tasks: Iterable[Task], calibration: Iterable[Task], rows: int
    ) -> ConvBaseDescription:
        sent = list(tasks), list(islice(calibration, MAX_CALIBRATION)), rows // max(1, len(self.cluster.hosts()))
        if spec.precision == "int8":
            self.callbacks.quantizing(min(len(sent[1]), CALIBRATED))
        described = self._load("settle_precision", self.spec, *sent)
        self.spec = replace(self.spec, precision=described.spec.precision)
        return described

    def load_again(self, layout: StoreLayout, spec: ConvBaseSpec, is_same: bool) -> ConvBaseDescription:
        self._set_spec(spec)
        described = self._load("load_again", without_shards(layout), self.spec, is_same)
        self._load_elsewhere("load_again", without_shards(layout), self.spec, True)
        return described

    def load_stored(self, layout: StoreLayout) -> None:
        self._set_spec(layout.conv_base_spec)
        self._load("load_stored", without_shards(layout))

    def compute_probe(self, layout: StoreLayout) -> bytes:
        return self._call("compute_probe", without_shards(layout))

    def recompute(self, layout: StoreLayout, tasks: Sequence[Task]) -> list[np.ndarray | None]:
        return self._call("recompute", without_shards(layout), tasks)

    def estimate_seconds(self, tasks: Sequence[Task], rows: int) -> float:
        return self._call("estimate_seconds", tasks, rows) / max(1, len(self.cluster.hosts()))

    def _set_spec(self, spec: ConvBaseSpec) -> None:
        """Remember a spec, with the paths of its files made absolute; a conv base is about to be loaded."""
        self.callbacks.worker_loading(spec)
        self.cluster.warm_up(start_tensorflow_quietly)
        self.spec = replace(
            spec,
            view=None,
            conv_base=str(Path(spec.conv_base).absolute()) if spec.is_path else spec.conv_base,
            weights=spec.weights if spec.weights in WEIGHTS_WORDS else str(Path(spec.weights).absolute()),
        )

    def _load(self, method: str, *args: Any) -> Any:
        """Call a method after which the engine of a worker is in another state, which other workers can repeat."""
        value = self._call(method, *args)
        self._history = (*self._history, (method, args)) if method == "settle_precision" else ((method, args),)
        return value

    def _call(self, method: str, *args: Any) -> Any:
        """Call a method of the `LocalEngine` of a worker, and repeat the calls of its callbacks here."""
        call = EngineCall(self._token, self.batch_size, self.workers, self._history, method, args)
        value, calls = self.cluster.call(WORDS[method], call_engine, call)
        for name, arguments in calls:
            getattr(self.callbacks, name)(*arguments)
        return value

    def _load_elsewhere(self, method: str, *args: Any) -> None:
        """Let the other workers load the conv base too, while one of them begins the run."""
        call = EngineCall(self._token, self.batch_size, self.workers, (), method, args)
        self.cluster.call_elsewhere(load_ahead, call)

    def compute(self, writer: StoreWriter, plan: ExtractionPlan, counter: ImageCounter) -> None:
        _ShardRun(self, writer, plan, counter).run()


class _ShardRun:
    """Computes the pending shards of one store or view, and takes them over."""

    def __init__(self, engine: ClusterEngine, writer: StoreWriter, plan: ExtractionPlan, counter: ImageCounter):
        self.writer, self.plan, self.counter = writer, plan, counter
        self.callbacks = engine.callbacks
        self.admitted: set[Worker] = set()  # those that round differently
        layout = without_shards(writer.current)
        self.job = Job(layout, engine.spec, engine.batch_size, engine.workers, engine.mixed)
        self.results: TaskRun[ShardTask] = engine.cluster.run(compute_shard, self._tasks())

    def _tasks(self) -> Iterator[ShardTask]:
        images = list_tasks(self.plan.index, self.plan.pending, self.job.layout.spec.view)
        for start, stop in self.plan.ranges:
            yield ShardTask(self.job, start, stop, tuple(islice(images, stop - start)))

    def run(self) -> None:
        """Compute the shards; those that fail again and again are left, and named in a ClusterFailed."""
        make_directory(self.job.layout.directory / SHARDS)  # it may be what was lost
        for results in self.results:
            if usable := [result for result in results if self._is_usable(result)]:
                self._take_over(usable)
        self.writer.remove_staged()
        if self.results.failed:
            named = ", ".join(str(task) for task, _ in self.results.failed[:MAX_NAMED])
            more = f" and {len(self.results.failed) - MAX_NAMED} more" if len(self.results.failed) > MAX_NAMED else ""
            raise ClusterFailed(
                f"{self.job.layout.directory}: {named}{more} could not be computed ({self.results.failed[-1][1]}); the "
                "others are stored, and the same command tries these again"
            )

    def _is_usable(self, result: Result[ShardTask]) -> bool:
        """Return whether the result of a worker is a shard to take over; if not, the task is submitted again."""
        if isinstance(result.value, Receipt):
            problem = _unread_image(result.task, result.value)
            if not problem:
                return True
            (self.job.layout.directory / SHARDS / result.value.name).unlink(missing_ok=True)
        else:
            problem = result.value.reason
        self.results.refuse(result, problem)
        return False

    def _take_over(self, results: list[Result[ShardTask]]) -> None:
        """List shards, and report them."""
        problems = self.writer.accept([result.value for result in results])
        for result in results:
            if problem := problems.get(result.value.name):
                self.results.refuse(result, f"its shard {problem}: does it write to the same directory?")
                continue
            if "numerics" in result.value.made_with and result.worker not in self.admitted:
                self.admitted.add(result.worker)
                logger.warning("%s on %s rounds differently and is admitted", *result.worker)
            self.callbacks.shard_computed(result.worker.host, len(result.task.images), result.value.seconds)
            for bad in result.value.entry.bad:
                if (id := result.task.images[bad.row - result.task.start].id) is not None:
                    self.callbacks.image_rejected(id, bad.reason)
            self.counter.advance_by(len(result.task.images))


def _unread_image(task: ShardTask, receipt: Receipt) -> str | None:
    """Return what is wrong with a worker that could not read an image that this process can read."""
    for bad in receipt.entry.bad:
        image = task.images[bad.row - task.start]
        if bad.status in UNREAD and image.path is not None:
            try:
                data = read_image(image.path)
            except DecodeError:
                continue
            if hashlib.sha256(data).digest() == image.content:
                return f"{image.path} {bad.reason}, and can be read here: are the images mounted there?"
    return None
