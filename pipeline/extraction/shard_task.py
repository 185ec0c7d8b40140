"""What a process without the store's lock does: compute one shard from a task that tells everything it needs."""

import errno
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.conv_base.fingerprint import Difference, compare, hash_identity
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.conv_base.start_tensorflow import start_tensorflow_quietly
from pipeline.errors import SpecError, StoreError, StoreMismatch
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.extraction.compute_shards import compute_shards
from pipeline.extraction.decode_ahead import Task
from pipeline.extraction.local_engine import LocalEngine
from pipeline.extraction.numerics import find_numerics_problem, made_with
from pipeline.store import Receipt, StoreLayout, stage_shard

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
MAX_SHARDS = 2  # that a process computes at a time: the images of the second are decoded meanwhile


@dataclass(frozen=True)
class Job:
    """What all shards of a run have in common."""

    layout: StoreLayout  # its directory is absolute, and its manifest lists no shards
    spec: ConvBaseSpec  # where the conv base is loaded from
    batch_size: int
    workers: int | None
    mixed: bool  # whether machines are admitted that compute numbers close to those of the store


@dataclass(frozen=True)
class ShardTask:
    """A shard to compute."""

    job: Job
    start: int
    stop: int
    images: tuple[Task, ...]  # one for each row

    def __str__(self) -> str:
        return f"rows {self.start} to {self.stop}"


@dataclass(frozen=True)
class Refusal:
    """Why a process cannot compute shards of a store."""

    reason: str


class ShardComputer:
    """Computes shards with a conv base that is loaded once and has shown which numbers it gives."""

    def __init__(self, job: Job):
        """Load the conv base of a job; raise SpecError if that fails, StoreMismatch if it is not the store's."""
        loaded = [engine for engine in (*_engines.values(), *_ahead) if engine.conv_base]
        _ahead.clear()
        if same := [engine for engine in loaded if not _differences(job, engine.loaded().spec)]:
            self.engine = same[0]  # this process has loaded it while the run began
            return
        self.engine = LocalEngine(job.batch_size, job.workers, SILENT)
        if differences := _differences(job, self.engine.load_again(job.layout, job.spec, is_same=True).spec):
            raise StoreMismatch("; ".join(map(str, differences)), differences)

    def probe(self, layout: StoreLayout) -> bytes:
        """Return the probe of a store or of one of its views."""
        return self.engine.compute_probe(layout)

    def compute(self, task: ShardTask) -> Receipt | Refusal:
        """Compute and stage a shard, or return why this process must not."""
        job, layout = task.job, task.job.layout
        start, probe = time.monotonic(), self.probe(layout)
        if problem := find_numerics_problem(probe, layout, job.mixed):
            return Refusal(problem)
        ((content, bad),) = compute_shards(
            [(task.start, task.stop)],
            task.images,
            layout,
            self.engine.loaded(),
            batch_size=job.batch_size,
            workers=job.workers,
        )
        try:
            receipt = stage_shard(layout, content, bad, made_with(probe, layout))
        except OSError as error:
            if error.errno in DISK_FULL:
                raise StoreError(f"{layout.directory} cannot be written to: {error.strerror}; make room") from None
            raise
        return replace(receipt, seconds=time.monotonic() - start)


def _differences(job: Job, spec: ConvBaseSpec) -> list[Difference]:
    return compare(_identity(job.layout), replace(spec, view=None).identity())


def _identity(layout: StoreLayout) -> dict[str, Any]:
    """Return the identity of the conv base of a store or view."""
    return {name: value for name, value in layout.manifest.spec.items() if name != "view"}


_places = threading.BoundedSemaphore(MAX_SHARDS)
_loading = threading.Lock()
_computers: dict[str, ShardComputer] = {}  # at most one, by what was loaded


def compute_shard(task: ShardTask) -> Receipt | Refusal:
    """Compute one shard in a worker process, which loads the conv base for its first task and keeps it."""
    with _places:
        try:
            return _computer_of(task.job).compute(task)
        except StoreMismatch as error:
            return Refusal(f"its conv base is not that of the store: {error}")
        except SpecError as error:
            return Refusal(f"it cannot load the conv base: {error}")


def _computer_of(job: Job) -> ShardComputer:
    key = f"{hash_identity(_identity(job.layout))} {job.spec} {job.batch_size}"
    with _loading:
        if key not in _computers:
            start_tensorflow_quietly()
            _computers.clear()
            _computers[key] = ShardComputer(job)
        _computers[key].probe(job.layout)  # not by two threads at the same time
        return _computers[key]


class _Recorder(Callbacks):
    """Keeps calls, to be repeated where the run was started."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def precision_rejected(self, precision: str, error: Mapping[str, Any]) -> None:
        self.calls.append(("precision_rejected", (precision, error)))

    def int8_recommended(self, seconds: float, float_seconds: float) -> None:
        self.calls.append(("int8_recommended", (seconds, float_seconds)))


_ahead: list[LocalEngine] = []  # of `load_ahead`, at most one, until a `ShardComputer` is made
_engines: dict[str, LocalEngine] = {}  # of `call_engine`, at most one, by the token of its run


@dataclass(frozen=True)
class EngineCall:
    """A call of a method of the `LocalEngine` that a run has on a worker."""

    token: str  # of the run
    batch_size: int
    workers: int | None
    history: tuple[tuple[str, tuple[Any, ...]], ...]  # the calls that a worker makes first that has no engine yet
    method: str
    args: tuple[Any, ...]


def call_engine(call: EngineCall) -> tuple[Any, list[tuple[str, tuple[Any, ...]]]]:
    """Make a call; return its result, and the calls of callbacks, which the coordinator repeats."""
    if call.token not in _engines:
        start_tensorflow_quietly()
        _engines.clear()
        engine = LocalEngine(call.batch_size, call.workers, SILENT)
        for method, args in call.history:
            getattr(engine, method)(*args)
        _engines[call.token] = engine
    _engines[call.token].callbacks = recorder = _Recorder()
    return getattr(_engines[call.token], call.method)(*call.args), recorder.calls


def load_ahead(call: EngineCall) -> None:
    """Load a conv base for the first shard, unless this process has loaded it for a call of the run."""
    with _loading:  # a first shard waits, instead of loading it too
        if call.token not in _engines:
            start_tensorflow_quietly()
            engine = LocalEngine(call.batch_size, call.workers, SILENT)
            getattr(engine, call.method)(*call.args)
            _ahead[:] = [engine]


def without_shards(layout: StoreLayout) -> StoreLayout:
    """Return a layout that is small enough to be sent with every task."""
    return StoreLayout(layout.directory.absolute(), replace(layout.manifest, shards=(), precision_error={}))
