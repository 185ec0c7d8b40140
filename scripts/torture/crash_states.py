"""Open, verify and resume stores in states that a power cut could have left."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from pipeline import open_features, verify_store
from pipeline.errors import StoreDamaged, StoreError
from pipeline.files.durable import sha256_of, sha256_of_file
from pipeline.heads.load_head import RECORD
from pipeline.store.file_names import SHARDS

from . import children
from .crash_model import Tree, build, digest, draw_state
from .crash_promises import Promises
from .crash_scenarios import AFTER_A_KILL, CACHE, Scenario, read_shards, record_all
from .oracle import Sample, count_wrong_rows, faults_when_finished, fill_reference
from .results import Result
from .stand_ins import tally

SHARDS_OF_STORE = 6
STATES_PER_CHILD = 25
MAX_DRAWS = 40  # for each state that is asked for; some cuts leave one state only
MAX_FAULTS = 5  # of a state; a child reports no more than a pipe holds
BENIGN = (  # findings of `verify` that a cut may leave behind and the next run clears away
    "is not listed in the manifest",
    "is a temporary file of a run that was killed",
    "wait for features",
    "has no head.json",
)


class State(NamedTuple):
    """A state, and what was acknowledged when it arose."""

    cut: int
    tree: Tree
    promises: Promises


@dataclass
class Verdict:
    """What was found in some states."""

    lost_rows: int = 0
    wrong_rows: int = 0
    bad_files: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Add the counts of other states."""
        self.lost_rows += other.lost_rows
        self.wrong_rows += other.wrong_rows
        self.bad_files += other.bad_files


def examine_states(few: Sample, work: Path, states: int, seed: int, kills: bool) -> Result:
    """Draw distinct states over all moments of all scenarios, and check that each keeps what was acknowledged.

    With `kills`, some scenarios go on with what a killed run left.
    """
    result, total = Result("states that a power cut leaves"), Verdict()
    work = work / "crash"
    with small_shards(few):
        scenarios = record_all(fill_reference(Sample.of(few.folder), work), work, result, kills)
        drawn = _draw_states(scenarios, states, random.Random(seed))
        for scenario, of_scenario in zip(scenarios, drawn, strict=True):
            for start in range(0, len(of_scenario), STATES_PER_CHILD):
                chosen = of_scenario[start : start + STATES_PER_CHILD]
                outcome = children.run(_check_states, scenario, chosen, work / "states")
                if result.ran(outcome, f"states of {scenario.name}"):
                    total.add(outcome.value)
                    result.broken += outcome.value.faults
                result.tried["distinct states"] += len(chosen)
                result.show(result.tried["distinct states"], states)
    result.wrong_rows, result.bad_files = total.wrong_rows, total.bad_files
    result.tried["moments"] = sum(len(scenario.events) - scenario.first + 1 for scenario in scenarios)
    result.tried["acknowledged rows lost"] = total.lost_rows
    result.expect(result.tried["distinct states"] == states, f"only {result.tried['distinct states']} states differ")
    counts: Counter[str] = Counter()
    for scenario, of_scenario in zip(scenarios, drawn, strict=True):
        counts[scenario.name.partition(AFTER_A_KILL)[0]] += len(of_scenario)
    result.notes.append("states by run: " + ", ".join(f"{name} {n}" for name, n in counts.items()))
    return result.done()


def small_shards(few: Sample) -> Any:
    """Return a context in which few images fill many shards."""
    return mock.patch("pipeline.extraction.plan.MAX_ROWS", max(1, len(few.images) // SHARDS_OF_STORE))


def _draw_states(scenarios: list[Scenario], states: int, draw: random.Random) -> list[list[State]]:
    """Draw distinct states, as many of each run, over all of its moments; by scenario."""
    by_run: dict[str, list[tuple[int, int]]] = {}
    for i, scenario in enumerate(scenarios):
        moments = by_run.setdefault(scenario.name.partition(AFTER_A_KILL)[0], [])
        moments += [(i, cut) for cut in range(scenario.first, len(scenario.events) + 1)]
    drawn: list[list[State]] = [[] for _ in scenarios]
    seen: set[tuple[int, bytes, str]] = set()
    for run in islice(cycle(by_run.values()), MAX_DRAWS * states):
        i, cut = draw.choice(run)
        events = scenarios[i].events[:cut]
        tree, promises = draw_state(events, draw), Promises.after(events)
        key = (i, digest(tree), repr(promises))
        if key not in seen:
            seen.add(key)
            drawn[i].append(State(cut, tree, promises))
        if len(seen) == states:
            break
    return drawn


def _check_states(scenario: Scenario, states: list[State], folder: Path) -> Verdict:
    """Check states, in a child; the syncs of what it runs would only cost time."""
    verdict = Verdict()
    with mock.patch("os.fsync", lambda descriptor: None):
        for state in states:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            build(state.tree, folder)
            check_state(scenario, state.promises, folder / CACHE, f"cut after event {state.cut}", verdict)
    return verdict


def check_state(scenario: Scenario, promises: Promises, cache: Path, when: str, verdict: Verdict) -> None:
    """Open, verify and resume what a cut left, and add what is wrong with it to the verdict."""
    faults: list[str] = []
    try:
        _check(scenario, promises, cache, verdict, faults)
    except Exception as error:  # whatever it is, it must not happen
        faults.append(f"{type(error).__name__}: {error}")
    verdict.faults += [f"{scenario.name}, {when}: {fault}"[:500] for fault in faults[:MAX_FAULTS]]


def _check(scenario: Scenario, promises: Promises, cache: Path, verdict: Verdict, faults: list[str]) -> None:
    kept, lost = _count_acknowledged(scenario, promises, cache, faults)
    verdict.lost_rows += lost
    for path, data in read_shards(cache).items():
        if data not in scenario.shards.get(path, ()):
            verdict.bad_files += 1
            verdict.wrong_rows += count_wrong_rows(data, scenario.sample.expected)[0]
            faults.append(f"{path} is not what was written")
    faults += _faults_of_opening(scenario, promises, cache)
    tally.clear()
    scenario.resume(cache, scenario.sample)
    missing = sum(map(_rows, scenario.final)) - kept
    verdict.lost_rows += max(0, tally.computed - missing - lost)
    if tally.computed > missing:
        faults.append(f"{tally.computed} rows were computed where {missing} were missing")
    if scenario.final != (resumed := read_shards(cache)):
        faults.append(f"resumed, it has the shards {sorted(resumed)}, some with other bytes than the run's")
    verdict.wrong_rows += sum(
        count_wrong_rows((cache / SHARDS / name).read_bytes(), scenario.sample.expected)[0]
        for name in scenario.sample.whole
        if (cache / SHARDS / name).exists()
    )
    faults += [f"resumed, {fault}" for fault in faults_when_finished(cache, scenario.sample)]


def _count_acknowledged(scenario: Scenario, promises: Promises, cache: Path, faults: list[str]) -> tuple[int, int]:
    """Return how many rows need not be computed again, and how many acknowledged ones are not what was written."""
    kept = lost = 0
    for where, shards in promises.shards.items():
        for name, sha256 in shards.items():
            path = cache / where / SHARDS / name
            final = scenario.final.get(path.relative_to(cache).as_posix())
            kept += _rows(name) if final is not None and sha256_of(final) == sha256 else 0
            copies = [path, *path.parent.glob(f".done-*-{name}-*")]
            if sha256 not in (sha256_of_file(copy) for copy in copies if copy.is_file()):
                lost += _rows(name)
                faults.append(f"{where}/{name} was acknowledged and is {'damaged' if path.is_file() else 'missing'}")
    for where, record in promises.heads.items():
        path = cache / where / RECORD
        if not path.is_file() or record not in (None, sha256_of_file(path)):
            faults.append(f"{where} was acknowledged and is not there")
    return kept, lost


def _faults_of_opening(scenario: Scenario, promises: Promises, cache: Path) -> list[str]:
    """Open and verify a store: what was acknowledged must be right, the rest must be right or absent."""
    faults = []
    for where in sorted({".", *promises.stores}):
        try:
            open_features(cache / where)
        except StoreError as error:
            if where in promises.stores or isinstance(error, StoreDamaged):
                faults.append(str(error))
    if faults or not (cache / "manifest.json").exists():
        return faults
    promised = {f"{SHARDS}/{name}" for name in promises.shards.get(".", ())} | promises.heads.keys()
    damaged = {f"{SHARDS}/{name}" for name in scenario.damaged} - promised
    for finding in verify_store(cache, full=True):
        is_left_over = any(words in finding.problem for words in BENIGN) and finding.what not in promises.heads
        if finding.what not in damaged and not is_left_over:
            faults.append(f"verify says of {finding.what}: {finding.problem}")
    return faults


def _rows(path: str) -> int:
    start, stop = (int(number) for number in Path(path).stem.split("-"))
    return stop - start
