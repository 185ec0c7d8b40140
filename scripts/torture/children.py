"""Run functions in child processes, forked from a parent without threads and without TensorFlow.

To show a crash at exit, a child can leave through the interpreter's ordinary exit: it raises
SystemExit through the frames that it inherited, in which only `Workspace` has anything to clean up.
"""

import contextlib
import gc
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """The end of a child.

    Attributes
    ----------
    status : int
        Exit status, or minus the number of the signal that killed it.
    value : object
        Return value of the job; None if it did not return.
    errors : str
        Text of its standard error.
    peak : int
        Maximum memory in bytes, pages shared with its parent included.
    """

    status: int
    value: Any
    errors: str
    peak: int


@dataclass
class Child:
    """A running child process."""

    pid: int
    errors: int  # file descriptors of pipes: no limit on file sizes keeps an error line from arriving
    value: int

    def halts(self) -> bool:
        """Wait until it stops or ends; return whether it stopped, so that it can be killed."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        return found is not None and found.si_code == os.CLD_STOPPED

    def has_ended(self, within: float = 0.0) -> bool:
        """Return whether it ends within some seconds."""
        end = time.monotonic() + within
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() >= end:
                return False
            time.sleep(0.002)
        return True

    def is_stopped(self) -> bool:
        """Return whether it is stopped now."""
        return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG) is not None

    def freeze(self) -> bool:
        """Stop it with SIGSTOP; return False if it ended before."""
        os.kill(self.pid, signal.SIGSTOP)
        return self.halts()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> Outcome:
        """Wait until it ends."""
        with os.fdopen(self.errors, "rb") as errors, os.fdopen(self.value, "rb") as pipe:
            text, data = errors.read().decode(errors="replace"), pipe.read()
        _, status, usage = os.wait4(self.pid, 0)
        value = pickle.loads(data) if data else None  # noqa: S301  # our own child wrote it
        return Outcome(os.waitstatus_to_exitcode(status), value, text, usage.ru_maxrss << 10)


def start(job: Callable[..., Any], *args: Any, orderly: bool = False) -> Child:
    """Start `job(*args)` in a child; with `orderly` it ends as a program does, otherwise at once, which is faster."""
    gc.freeze()  # otherwise every child visits all objects of the parent when it ends
    sys.stdout.flush()
    sys.stderr.flush()
    errors, errors_end = os.pipe()
    value, value_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(errors_end)
        os.close(value_end)
        return Child(pid, errors, value)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(errors_end, 2)
    try:
        result = job(*args)
        os.write(value_end, pickle.dumps(result))
    except Exception:
        traceback.print_exc()
        os._exit(1)
    if orderly:
        raise SystemExit(0)
    os._exit(0)


def run(job: Callable[..., Any], *args: Any, orderly: bool = False) -> Outcome:
    """Run `job(*args)` in a child and wait for it."""
    return start(job, *args, orderly=orderly).wait()


def list_descendants(pid: int) -> list[int]:
    """Return the ids of the children of a process, of their children, and so on."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found += [child for child in parents if parents[child] == parent]
    return found[1:]


def peak_memory() -> int:
    """Return the maximum memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


class Workspace:
    """A temporary folder that is deleted by the process that made it, not by its children."""

    def __enter__(self) -> Path:
        self.owner, self.path = os.getpid(), Path(tempfile.mkdtemp(prefix="torture-"))
        return self.path

    def __exit__(self, *exception: object) -> None:
        if os.getpid() == self.owner:
            shutil.rmtree(self.path, ignore_errors=True)
