"""Hide what native libraries write to standard error."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_redirecting = threading.RLock()  # two threads could each restore what the other one had redirected


@contextlib.contextmanager
def native_stderr_hidden() -> Iterator[None]:
    """Hide lines of native libraries that no setting switches off; Python's errors are raised all the same."""
    with _redirecting:
        sys.stderr.flush()
        stderr_copy, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(devnull, 2)
            yield
        finally:
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)
            os.close(devnull)
