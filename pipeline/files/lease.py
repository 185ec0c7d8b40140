"""`Lease`: one writer at a time where the file system has no locks.

A file names the holder, which renews the file's time while it runs. A lease that nobody has renewed for
`LEASE_SECONDS` belongs to a process that was killed, on whatever host, and may be taken over. The lease of filelock
is not used: it takes an expired lease over by an exchange of two names, which NFS and SMB refuse.
"""

import contextlib
import logging
import os
import time
from pathlib import Path
from threading import Event, Thread

from filelock import Timeout

from pipeline.files.durable import temporary_path

logger = logging.getLogger(__name__)
LEASE_SECONDS = 30.0  # the same for all processes that write to one directory
RENEWALS = 3  # in LEASE_SECONDS
SETTLING = 0.1  # fraction of LEASE_SECONDS; the last of several processes that take a lease over at once holds it


class Lease:
    """A lease on the file `path`, whose bytes are `content` while this process holds it; no other process has these.

    A process that was stopped for longer than `LEASE_SECONDS` may have lost its lease: it must call `is_held` before
    it changes what the lease protects.
    """

    def __init__(self, path: Path, content: bytes):
        self.path, self.content = path, content
        self._released = Event()
        self._heartbeat = Thread(target=self._renew, name="lease", daemon=True)

    def acquire(self, wait: float) -> None:
        """Take the lease; raise Timeout if another process still renews it after `wait` seconds.

        To see that takes as long as the time between two renewals, or `LEASE_SECONDS` if the holder was killed.
        """
        end, seen, since = time.monotonic() + wait, None, 0.0
        while not self._create():
            state, now = self._state(), time.monotonic()
            if state is not None and state != seen:
                if seen is None:
                    logger.warning(
                        "%s has no file locks; waiting up to %.0f s to see whether another process writes to it",
                        self.path.parent,
                        LEASE_SECONDS,
                    )
                elif now > end:
                    raise Timeout(str(self.path))
                seen, since = state, now
            elif state is not None and now - since > LEASE_SECONDS and self._take_over(state):
                break
            time.sleep(LEASE_SECONDS / 100)
        self._heartbeat.start()

    def is_held(self) -> bool:
        """Return whether no other process has taken the lease."""
        state = self._state()
        return state is not None and state[0] == self.content

    def release(self) -> None:
        """Let other processes take the lease at once."""
        self._released.set()
        with contextlib.suppress(OSError):
            if self.is_held():
                self.path.unlink()

    def _create(self) -> bool:
        try:
            with open(self.path, "xb") as file:
                file.write(self.content)
        except FileExistsError:
            return False
        return True

    def _take_over(self, expired: tuple[bytes, int]) -> bool:
        temporary = temporary_path(self.path)
        temporary.write_bytes(self.content)
        if self._state() != expired:
            temporary.unlink()
            return False
        os.replace(temporary, self.path)
        time.sleep(SETTLING * LEASE_SECONDS)
        return self.is_held()

    def _state(self) -> tuple[bytes, int] | None:
        """Return content and time of the file, as the server has them: NFS asks it when a file is opened."""
        try:
            with open(self.path, "rb") as file:
                return file.read(), os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return None

    def _renew(self) -> None:
        while not self._released.wait(LEASE_SECONDS / RENEWALS):
            with contextlib.suppress(OSError):  # the server may answer again before the lease ends
                if not self.is_held():
                    return
                os.utime(self.path)
