"""Log records and Python warnings as lines on standard error."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

from pipeline.cli import console


@contextlib.contextmanager
def show_log(verbose: bool) -> Iterator[None]:
    """Show warnings of this package and errors of others, with `verbose` all from INFO up; then restore logging."""
    root, own = logging.getLogger(), logging.getLogger("pipeline")
    levels, show_warning = (root.level, own.level), warnings.showwarning
    handler = _Handler(logging.INFO if verbose else logging.ERROR)
    root.setLevel(min(handler.shown_level, logging.WARNING))
    own.setLevel(min(handler.shown_level, logging.WARNING))
    root.addHandler(handler)
    warnings.showwarning = _log_warning  # type: ignore[assignment]  # file and line are not used
    try:
        yield
    finally:
        warnings.showwarning = show_warning
        root.removeHandler(handler)
        root.setLevel(levels[0])
        own.setLevel(levels[1])


class _Handler(logging.Handler):
    """Prints warnings of this package, and records of `shown_level` or above."""

    def __init__(self, shown_level: int):
        super().__init__()
        self.shown_level = shown_level

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = " ".join(record.getMessage().split())
        except Exception:  # arguments that do not fit the message, of any library, must not stop the run
            self.handleError(record)
            return
        if record.name.startswith("pipeline.") and record.levelno >= logging.WARNING:
            console.warn(text)
        elif record.levelno >= self.shown_level:
            console.note(f"{record.name}: {text}")


def _log_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *args: object) -> None:
    logging.getLogger("py.warnings").warning("%s:%d: %s: %s", filename, lineno, category.__name__, message)
