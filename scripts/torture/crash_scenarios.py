"""The runs whose crash states are examined, each recorded in children."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import extract_features, make_head, open_features, repair_store, save_head
from pipeline.errors import StoreError
from pipeline.extraction.compute_part import compute_part
from pipeline.store import view_directory
from pipeline.store.file_names import SHARDS

from . import children, stand_ins
from .crash_promises import HEAD, VOID, Say, acknowledge_all, acknowledge_head, acknowledging
from .crash_recorder import Event, Note, Recorder, read_log
from .oracle import BATCH, Sample
from .results import Result

CACHE = "cache"
START = ("start", ".")  # the note with which a run begins
REMOVED = 3  # images that an update finds gone
AFTER_A_KILL = " after a run that was killed before its sync "
Job = Callable[[Path, Sample], None]


@dataclass(frozen=True)
class Scenario:
    """A run during which the power is cut.

    Attributes
    ----------
    run : callable
        Changes a cache, and acknowledges what it alone knows of.
    resume : callable
        What a user does after a power cut.
    prepare : callable, optional
        Makes the cache that the run starts from.
    damaged : frozenset
        Names of shards that are damaged before the run.
    kills : int
        Number of syncs before each of which the run is killed once, so that another run goes on; also with what
        the killed one wrote and did not sync.
    sample : Sample
        Its images; `whole` holds the shards of the store that the run makes.
    shards : dict
        All bytes that the shards have before and after the run, by path below the cache: whatever has a final
        name has one of them.
    final : dict
        Those after the run.
    events : list
        What happens in the run, after the first `first` events, which make the folder that it starts from, and of
        which the last few may not be durable if another run was killed.
    """

    name: str
    sample: Sample
    run: Callable[[Path, Sample, Say], None]
    resume: Job
    prepare: Job | None = None
    damaged: frozenset[str] = frozenset()
    kills: int = 0
    shards: Mapping[str, set[bytes]] = field(default_factory=dict)
    final: Mapping[str, bytes] = field(default_factory=dict)
    events: Sequence[Event] = ()
    first: int = 0


def recorded(scenario: Scenario, work: Path, result: Result, kill_before: int = 0) -> Iterator[Scenario]:
    """Record a scenario, unless it fails; with `kill_before`, the run is killed before that sync, and runs again."""
    folder, log = work / "recorded", work / "log"
    shutil.rmtree(folder, ignore_errors=True)
    log.unlink(missing_ok=True)
    folder.mkdir(parents=True)
    name, cache, sample = scenario.name, folder / CACHE, scenario.sample
    if scenario.prepare and not result.ran(children.run(scenario.prepare, cache, sample), f"{name}, its preparation"):
        return
    shards = {path: {data} for path, data in read_shards(cache).items()}
    if kill_before:
        name += f"{AFTER_A_KILL}{kill_before}"
        killed = children.run(_record, folder, log, scenario, kill_before)
        result.expect(killed.status == -signal.SIGKILL, f"{name}: it ended with {killed.status}")
    if not result.ran(children.run(_record, folder, log, scenario, 0), name):
        return
    final = read_shards(cache)
    for path, data in final.items():
        shards.setdefault(path, set()).add(data)
    events = read_log(folder, log)
    first = max(i for i, event in enumerate(events, 1) if event == Note(START))
    whole = {Path(path).name: data for path, data in final.items() if Path(path).parent == Path(SHARDS)}
    sample = replace(sample, whole=whole)
    yield replace(scenario, name=name, sample=sample, shards=shards, final=final, events=events, first=first)


def read_shards(cache: Path) -> dict[str, bytes]:
    """Return the bytes of every file with the final name of a shard, in the store and in its views."""
    folders = [cache / SHARDS, *cache.glob(f"views/[!.]*/{SHARDS}")]
    paths = [path for folder in folders for path in sorted(folder.glob("[!.]*"))]
    return {path.relative_to(cache).as_posix(): path.read_bytes() for path in paths}


def _record(folder: Path, log: Path, scenario: Scenario, kill_before: int) -> None:
    is_first = not log.exists()
    recorder, cache = Recorder(folder, log), folder / CACHE
    if is_first:
        acknowledge_all(cache, recorder.note)
    recorder.note(*START)
    with recorder.recording(kill_before), acknowledging(cache, recorder.note):
        scenario.run(cache, scenario.sample, recorder.note)


def list_scenarios(sample: Sample) -> list[Scenario]:
    """Return the scenarios, not yet recorded."""
    half = Sample(sample.folder, sample.images.take(np.arange(len(sample.images) * 2 // 3)), sample.expected)
    kept = Sample(sample.folder, sample.images.take(np.arange(REMOVED, len(sample.images))), sample.expected)
    damaged = frozenset(sorted(sample.whole)[:2])
    return [
        Scenario("a new store", sample, _fill, fill, kills=14),
        Scenario("a manifest for each shard", sample, _fill_and_list, fill),
        Scenario("two parts", sample, _fill_in_parts, fill, kills=14),
        Scenario("an update", kept, _fill, fill, lambda cache, _: fill(cache, half)),
        Scenario("a rebuild", sample, _rebuild, rebuild, _fill_in_float16),
        Scenario("two views", sample, _fill_views, fill_views, fill, kills=6),
        Scenario("dropped views", sample, _drop_views, drop_views, fill_views),
        Scenario("a repair", sample, _repair, repair, _damage, damaged),
        Scenario("a saved head", sample, _save_heads, save_second_head, fill, kills=4),
    ]


def record_all(sample: Sample, work: Path, result: Result, kills: bool) -> list[Scenario]:
    """Record all scenarios, with `kills` also after runs that were killed."""
    found: list[Scenario] = []
    for scenario in list_scenarios(sample):
        for kill_before in range(scenario.kills + 1 if kills else 1):
            found += recorded(scenario, work, result, kill_before)
    return found


def fill(cache: Path, sample: Sample, **settings: Any) -> None:
    """Run stage one."""
    settings = {"spec": stand_ins.SPEC, "batch_size": BATCH, "workers": 1, **settings}
    extract_features(sample.images, cache, **settings)


def _fill(cache: Path, sample: Sample, say: Say) -> None:
    fill(cache, sample)


def _fill_and_list(cache: Path, sample: Sample, say: Say) -> None:
    from pipeline.store import write_store

    write_store.MIN_SECONDS, write_store.MAX_SHARE = 0.0, 1e9
    fill(cache, sample)


def _fill_in_parts(cache: Path, sample: Sample, say: Say) -> None:
    fill(cache, sample, plan_only=True)
    for part in (1, 2):
        compute_part(cache, part, 2, batch_size=BATCH, workers=1)
    fill(cache, sample)


def _fill_in_float16(cache: Path, sample: Sample) -> None:
    fill(cache, sample, spec=replace(stand_ins.SPEC, store_dtype="float16"))


def rebuild(cache: Path, sample: Sample) -> None:
    """Rebuild a store, unless it was rebuilt already."""
    try:
        is_old = open_features(cache).spec.store_dtype == "float16"
    except StoreError:
        is_old = False
    fill(cache, sample, rebuild=is_old)


def _rebuild(cache: Path, sample: Sample, say: Say) -> None:
    fill(cache, sample, rebuild=True)


def fill_views(cache: Path, sample: Sample) -> None:
    """Fill a store and two views."""
    fill(cache, sample, views=3)


def _fill_views(cache: Path, sample: Sample, say: Say) -> None:
    fill_views(cache, sample)


def drop_views(cache: Path, sample: Sample) -> None:
    """Delete the views."""
    fill(cache, sample, views=1)


def _drop_views(cache: Path, sample: Sample, say: Say) -> None:
    for number in (1, 2):
        say(VOID, view_directory(cache, number).relative_to(cache).as_posix())
    drop_views(cache, sample)


def _damage(cache: Path, sample: Sample) -> None:
    """Flip a bit of one shard and delete another."""
    fill(cache, sample)
    flipped, deleted = sorted((cache / SHARDS).iterdir())[:2]
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    deleted.unlink()


def repair(cache: Path, sample: Sample) -> None:
    """Repair a store."""
    repair_store(cache, batch_size=BATCH, workers=1)
    fill(cache, sample)


def _repair(cache: Path, sample: Sample, say: Say) -> None:
    repair(cache, sample)


def _save_heads(cache: Path, sample: Sample, say: Say) -> None:
    _save_head(cache, 1.0)
    acknowledge_head(cache / "heads" / "ridge", cache, say)
    say(HEAD, "heads/ridge", None)
    save_second_head(cache, sample)
    acknowledge_head(cache / "heads" / "ridge", cache, say)


def save_second_head(cache: Path, sample: Sample) -> None:
    """Train and save a head, which replaces another one."""
    _save_head(cache, 2.0)


def _save_head(cache: Path, alpha: float) -> None:
    store = open_features(cache)
    X, y = store.load()
    head = make_head("ridge", alpha=alpha).fit(X, y)
    save_head(head, store.heads_directory / "ridge", classes=store.classes, fingerprint=store.fingerprint)
