"""Cut the power of real file systems: ext4 in a file of its own, which stops in the middle of a run.

The cut is the kernel's `EXT4_IOC_SHUTDOWN` without a flush of the journal, by which the tests of Linux' own file
systems do it: from this moment on nothing reaches the disk, and what the page cache alone held is lost. The run
gets an I/O error from its next sync, so it acknowledges nothing afterwards. Then the file system is mounted again,
which replays its journal. The disk itself loses nothing that it was given; `crash_states` covers what caches of
disks may lose.
"""

import ctypes
import fcntl
import os
import random
import struct
import subprocess
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

from . import children
from .crash_promises import Promises, acknowledge_all, acknowledging
from .crash_recorder import Note, append_event, read_events
from .crash_scenarios import CACHE, Scenario, list_scenarios, recorded
from .crash_states import Verdict, check_state, small_shards
from .oracle import Sample, fill_reference
from .results import Result, last_line
from .stand_ins import tally

SIZE = 64 << 20  # bytes of the file system
SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
OPTIONS = ("data=ordered", "data=writeback", "data=ordered,noauto_da_alloc", "data=journal", "nodelalloc", "commit=1")
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
MAX_TRIES = 5  # for each cut that is asked for; a run may end before the cut


class Cut(NamedTuple):
    """What a cut hit.

    Attributes
    ----------
    stage : int
        The stage of the run, as in the tally.
    seconds : float
        Duration of the run, if it was not cut.
    verdict : Verdict
    """

    stage: int
    seconds: float
    verdict: Verdict


def cut_power(few: Sample, work: Path, cuts: int, seed: int) -> Result:
    """Cut the power at random moments of all scenarios."""
    result, total, draw = Result("power cuts on ext4"), Verdict(), random.Random(seed)
    work = work / "cuts"
    work.mkdir()
    probe = children.run(_probe, work)
    if probe.status:
        result.impossible = last_line(probe.errors)
        return result.done()
    with small_shards(few):
        sample = fill_reference(Sample.of(few.folder), work)
        scenarios = [found for scenario in list_scenarios(sample) for found in recorded(scenario, work, result)]
        seconds: dict[str, float] = {}
        for scenario in islice(cycle(scenarios), MAX_TRIES * cuts + len(scenarios)):
            name, options = scenario.name, draw.choice(OPTIONS)
            delay = draw.uniform(0, seconds[name]) if name in seconds else None
            outcome = children.run(_cut_once, scenario, work, options, delay)
            if not result.ran(outcome, f"a cut of {name}"):
                break
            cut = outcome.value
            seconds.setdefault(name, cut.seconds)
            result.tried["cuts in a run" if cut.stage == 1 else "cuts after a run"] += 1
            total.add(cut.verdict)
            result.broken += cut.verdict.faults
            result.show(result.tried["cuts in a run"], cuts)
            if result.tried["cuts in a run"] == cuts:
                break
    result.expect(result.tried["cuts in a run"] == cuts, f"only {result.tried['cuts in a run']} cuts hit a run")
    result.wrong_rows, result.bad_files = total.wrong_rows, total.bad_files
    result.tried["acknowledged rows lost"] = total.lost_rows
    return result.done()


def _cut_once(scenario: Scenario, work: Path, options: str, delay: float | None) -> Cut:
    """Run a scenario on a new file system, and cut the power after `delay` seconds, or at the end without one."""
    disk = _Disk(work, options)
    cache, log, sample, seconds = disk.folder / CACHE, work / "log", scenario.sample, 0.0
    log.write_bytes(b"")
    if scenario.prepare:
        scenario.prepare(cache, sample)
        disk.unmount()
        disk.mount()
    tally.clear()
    child = children.start(_run, scenario, cache, log)
    if delay is None:
        seconds = child.wait().value
    else:
        while tally.stage == 0:
            time.sleep(0.0005)
        time.sleep(delay)
    stage = tally.stage
    disk.cut()
    if delay is not None:
        child.kill()
    disk.unmount()
    disk.mount()
    verdict = Verdict()
    with open(log, "rb") as file:
        promises = Promises.after(list(read_events(file)))
    check_state(scenario, promises, cache, f"cut after {delay or seconds:.3f} s, {options}", verdict)
    disk.unmount()
    return Cut(stage, seconds, verdict)


def _run(scenario: Scenario, cache: Path, log: Path) -> float:
    """Run a scenario, write what it acknowledges to a log on another file system, and return its seconds."""
    start, tally.stage = time.monotonic(), 1
    with open(log, "ab") as file:

        def say(*what: Any) -> None:
            append_event(file, Note(what))

        acknowledge_all(cache, say)
        with acknowledging(cache, say):
            scenario.run(cache, scenario.sample, say)
        seconds, tally.stage = time.monotonic() - start, 2
        return seconds


def _probe(work: Path) -> None:
    disk = _Disk(work, OPTIONS[0])
    disk.cut()
    disk.unmount()


class _Disk:
    """A file system in a file; the mount is visible to this process and its children, and ends with them."""

    def __init__(self, work: Path, options: str):
        self.image, self.folder, self.options = work / "disk", work / "mounted", options
        self.folder.mkdir(exist_ok=True)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None):
            raise OSError(f"no mounts of its own: {os.strerror(ctypes.get_errno())}")
        self.image.unlink(missing_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(SIZE)
        _command("mkfs.ext4", "-q", "-F", self.image)
        self.mount()

    def mount(self) -> None:
        """Mount the file system, which replays its journal."""
        _command("mount", "-t", "ext4", "-o", f"loop,{self.options}", self.image, self.folder)

    def unmount(self) -> None:
        """Unmount the file system."""
        _command("umount", self.folder)

    def cut(self) -> None:
        """Let nothing reach the disk any more."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(descriptor)


def _command(*command: Any) -> None:
    """Run a command; its last line of output is the error."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{command[0]}: {last_line(done.stderr)}")
