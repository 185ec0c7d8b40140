"""Check untrusted files in a child process, so that a file which crashes a library cannot crash this process.

HDF5 is a C library: reading the structure of a malicious file can crash it, or take memory or time
without end.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.files.file_structure import check_hdf5_structure, check_keras_structure

MAX_MEMORY = 2 << 30  # bytes of address space that a check may take
MAX_SECONDS = 120.0
REFUSED = 3  # exit status of a child whose check raised an error
CHILD = (
    "import sys; sys.path[:] = sys.argv[6:]; from pipeline.files import check_untrusted; check_untrusted.run_in_child()"
)


def check_untrusted_hdf5(path: Path) -> None:
    """Check an HDF5 file from outside; see `check_hdf5_structure` and, for the errors, `check_in_child`."""
    check_in_child(check_hdf5_structure, path)


def check_untrusted_keras(path: Path) -> None:
    """Check a `.keras` file from outside; see `check_keras_structure` and, for the errors, `check_in_child`."""
    check_in_child(check_keras_structure, path)


def check_in_child(
    check: Callable[..., None],
    path: Path,
    *arguments: int | str | None,
    max_seconds: float = MAX_SECONDS,
    max_memory: int = MAX_MEMORY,
) -> None:
    """Call `check(path, *arguments)` in a new Python process with limits on memory and time.

    The check is a function that can be imported. Memory is limited to `max_memory` bytes where the
    operating system supports such a limit, as Linux does.

    Raises
    ------
    ValueError
        The check raised an error, crashed, or took too much memory or time; the text is the reason in
        one line, without the path.
    OSError
        The file cannot be opened: it does not exist, or may not be read.
    """
    with open(path, "rb"):
        pass
    # -I and -S: no environment variables, no site packages' start-up code; it starts in half the time.
    # -B: under a limit on file sizes, Python would write bytecode files that are cut short.
    command = [sys.executable, "-I", "-S", "-B", "-c", CHILD, check.__module__, check.__qualname__]
    command += [os.fspath(path), str(max_memory), json.dumps(arguments)]
    packages = [str(Path(__file__).parents[2]), *sys.path]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # numpy would start threads that nothing needs
    try:
        child = subprocess.run(
            [*command, *packages], env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=max_seconds
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"its check took longer than {max_seconds:g} seconds") from None
    if child.returncode == REFUSED:
        raise ValueError(child.stdout.decode(errors="replace"))
    if child.returncode:
        signal = f"signal {-child.returncode}" if child.returncode < 0 else f"exit status {child.returncode}"
        last_line = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"its check crashed ({signal}{last_line and ': '}{last_line})")


def run_in_child() -> None:
    """Run the check that the command line names, and exit with its outcome."""
    module, name, path, max_memory, arguments = sys.argv[1:6]
    check = getattr(importlib.import_module(module), name)
    _limit_memory(int(max_memory))
    try:
        check(Path(path), *json.loads(arguments))
        return
    except MemoryError:
        reason = f"its check takes more than {int(max_memory) >> 30} GiB of memory"
    except Exception as error:  # libraries raise errors of any kind over damaged files
        reason = str(error) or type(error).__name__
    sys.stdout.buffer.write(" ".join(reason.split()).encode(errors="backslashreplace"))
    sys.exit(REFUSED)


def _limit_memory(max_memory: int) -> None:
    """Let the address space grow by `max_memory` bytes, and write no core file after a crash."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used = 0  # address space that Python and its libraries have reserved; unknown outside Linux
    with contextlib.suppress(OSError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for limit, value in ((resource.RLIMIT_AS, used + max_memory), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):  # macOS does not accept every limit
            hard = resource.getrlimit(limit)[1]
            resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
