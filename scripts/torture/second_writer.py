"""A second writer of a store: it must be refused while the first one lives."""

import fcntl
import json
import os
from pathlib import Path

from pipeline.errors import StoreBusy

from . import children
from .oracle import Fill, Sample, faults_when_finished
from .oracle import fill as fill_here
from .results import Result
from .stand_ins import tally

NOTHING_TO_DO = "no error"


def try_second_writer(holder: int, sample: Sample, cache: Path, result: Result, fill: Fill = fill_here) -> None:
    """Let a second process fill the store of a stopped one; it must be refused, name the first and touch nothing.

    Workers of a cluster go on while their coordinator is stopped.
    """
    if not _is_locked(cache):
        result.tried["moments without a lock"] += 1
        return
    before, computed = contents(cache), tally.computed
    outcome = children.run(_refusal, fill, sample, cache)
    untouched = contents(cache) == before and (tally.computed == computed or fill is not fill_here)
    result.expect(untouched, f"a second writer touched the store of process {holder}")
    if outcome.value == NOTHING_TO_DO and not faults_when_finished(cache, sample):
        result.tried["second writers with nothing to do"] += 1  # all shards are listed, the holder is about to end
        return
    message = f"{outcome.value} {outcome.errors[-200:]}"
    named = f"process {holder} " in message or (_named_holder(cache) != holder and "another process" in message)
    result.expect(named, f"a second writer met process {holder} with: {message}")
    result.tried["second writers refused"] += named


def expect_refusals(result: Result, kills: int) -> None:
    """Check that enough second writers met the lock; on a busy machine runs hold no lock for much of their time."""
    refused = result.tried["second writers refused"]
    result.expect(10 * refused >= kills, f"of {kills} runs only {refused} were found to refuse a second writer")


def _refusal(fill: Fill, sample: Sample, cache: Path) -> str:
    try:
        fill(sample, cache)
    except StoreBusy as error:
        return str(error)
    return NOTHING_TO_DO


def _is_locked(cache: Path) -> bool:
    """Ask the kernel, not the package, whether a store is locked."""
    try:
        descriptor = os.open(cache / ".lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _named_holder(cache: Path) -> int | None:
    try:
        return int(json.loads((cache / ".writer.json").read_text())["pid"])
    except (OSError, ValueError):
        return None


def contents(cache: Path) -> dict[Path, bytes]:
    """Return the bytes of all files of a store, except for staged shards, by their paths."""
    paths = (path for path in cache.rglob("*") if path.is_file() and not path.name.startswith((".done-", ".maker-")))
    return {path: path.read_bytes() for path in paths}
