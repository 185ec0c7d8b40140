"""Failing disks: errors in file operations, limits on file sizes, full file systems."""

import ctypes
import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import children
from .children import Outcome
from .file_operations import Operation, interfered
from .oracle import Sample, command, examine, faults_when_finished, fill
from .results import Result, has_one_error_line, last_line
from .stand_ins import tally

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE, MS_REMOUNT = 0x20000, 0x10000000, 0x4000, 1 << 18, 0x20
PAGE = 4096  # a tmpfs allocates whole pages


def inject_errors(sample: Sample, work: Path, operations: int, errors: int = len(ERRORS)) -> Result:
    """Let each of the first file operations of a run fail, with `errors` different errors in turn."""
    result, cache = Result(f"an error in each of {operations} file operations"), work / "injected"
    for number in range(1, operations + 1):
        for code in (ERRORS * 2)[number % len(ERRORS) :][:errors]:
            shutil.rmtree(cache, ignore_errors=True)
            tally.clear()
            outcome = children.run(_command_with_error, sample, cache, number, code, orderly=True)
            when = f"{errno.errorcode[code]} in operation {number}"
            result.expect(tally.stage == 1, f"{when}: the run has no such operation")
            _check(outcome, sample, cache, result, when)
        result.show(number, operations)
    return result.done()


def starve(sample: Sample, work: Path) -> Result:
    """Run stage one under `ulimit -f`, and on file systems that are too small for the store."""
    result, cache = Result("ulimit -f and full disks"), work / "starved"
    largest = max(map(len, sample.whole.values()))
    for limit in (0, 1, 512, largest // 2, largest - 1):
        shutil.rmtree(cache, ignore_errors=True)
        outcome = children.run(_command_with_limit, sample, cache, limit, orderly=True)
        _check(outcome, sample, cache, result, f"ulimit -f of {limit} bytes")
        result.tried["limits"] += 1
    pages = sum(-(-len(data) // PAGE) for data in sample.whole.values())
    for room in sorted({1, 2, 4, pages // 4, pages // 2, pages - 1}):
        outcome = children.run(_on_a_small_disk, sample, work / "disk", room * PAGE)
        if outcome.value is None:
            result.notes.append(f"no tmpfs could be mounted here: {last_line(outcome.errors)}")
            break
        _merge(outcome.value, result)
    return result.done()


def _check(outcome: Outcome, sample: Sample, cache: Path, result: Result, when: str) -> None:
    """Check for one line and no crash, whole files under final names, and a next run that completes the store."""
    result.crashes += outcome.status < 0
    if outcome.status == 0:
        result.tried["finished in spite of it"] += 1
    else:
        result.tried["stopped with a one-line message"] += 1
        result.expect(outcome.status in (1, 2), f"{when}: ended with {outcome.status}: {last_line(outcome.errors)}")
        result.expect(has_one_error_line(outcome), f"{when}: printed {outcome.errors[-300:]!r}")
    result.add(examine(cache, sample), when)
    if result.ran(children.run(fill, sample, cache), f"{when}, the run after it"):
        for fault in faults_when_finished(cache, sample):
            result.expect(False, f"{when}, the run after it: {fault}")


def _command(sample: Sample, cache: Path) -> None:
    raise SystemExit(command(sample, cache))


def _command_with_error(sample: Sample, cache: Path, number: int, code: int) -> None:
    def interfere(operation: Operation) -> Any:
        if operation.number == number:
            tally.stage = 1
            raise OSError(code, os.strerror(code), operation.path)
        return operation()

    with interfered(cache, interfere):
        _command(sample, cache)


def _command_with_limit(sample: Sample, cache: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    _command(sample, cache)


def _on_a_small_disk(sample: Sample, mount_point: Path, room: int) -> Result:
    """Fill a small file system in a child, then enlarge it and run again."""
    result, cache = Result(""), mount_point / "cache"
    mount_point.mkdir(exist_ok=True)
    enlarge = _mount_tmpfs(mount_point, room)
    outcome = children.run(_command, sample, cache, orderly=True)
    result.expect(outcome.status != 0, f"a disk of {room} bytes held all of the store")
    result.add(examine(cache, sample), f"a full disk of {room} bytes")
    enlarge()
    _check(outcome, sample, cache, result, f"a disk of {room} bytes")
    result.tried["full disks"] += 1
    return result


def _mount_tmpfs(mount_point: Path, room: int) -> Callable[[], None]:
    """Mount a file system that only this process and its children see; return a function that enlarges it."""
    libc = ctypes.CDLL(None, use_errno=True)

    def must(status: int, what: str) -> None:
        if status:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    def mount(flags: int, size: int) -> None:
        options = f"size={size}".encode()
        must(libc.mount(b"torture", bytes(mount_point), b"tmpfs", ctypes.c_ulong(flags), options), "mount")

    must(libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if os.geteuid() else 0)), "unshare")
    must(libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "mount")
    mount(0, room)
    return lambda: mount(MS_REMOUNT, 1 << 26)


def _merge(part: Result, result: Result) -> None:
    result.tried += part.tried
    result.wrong_rows += part.wrong_rows
    result.bad_files += part.bad_files
    result.crashes += part.crashes
    result.broken += part.broken
