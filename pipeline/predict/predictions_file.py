"""Predictions as CSV: one line an image, written as it goes.

A path is written so that a script can open it: non-UTF-8 bytes as they are, and quoted by the csv
module where it must be. What a spreadsheet would take for a formula gets `./` in front, which names
the same file; a label is never changed.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

from pipeline.errors import PipelineError
from pipeline.files.durable import canonical_json, is_replaceable, sha256_of, sync_directory
from pipeline.files.lock import lock_file
from pipeline.predict.label_images import Prediction

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of one
ERROR = "error"  # the last column
START = rb"path,label,probability,"  # of every header of `columns`


def columns(classes: Sequence[str], *, distances: bool) -> list[str]:
    """The header: `path,label,probability`, one `p_CLASS` a class, with distances `distance,unknown`, then `error`."""
    return [
        *("path", "label", "probability"),
        *(f"p_{name}" for name in classes),
        *(("distance", "unknown") if distances else ()),
        ERROR,
    ]


def csv_line(cells: Sequence[str]) -> bytes:
    """One record with its line end, a bare newline."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # with "\n" alone it would not quote a "\r"
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape") + b"\n"


def path_cell(path: str) -> str:
    """A path as it is written."""
    return f"./{path}" if path.startswith(FORMULA) else path


def cells_of(prediction: Prediction, header: Sequence[str]) -> list[str]:
    """What stands in the columns of `header`."""
    known: dict[str, Any] = {f"p_{name}": share for name, share in prediction.probabilities.items()}
    known |= {"label": prediction.label, "probability": prediction.probability, ERROR: prediction.error}
    known |= {"distance": prediction.distance, "unknown": prediction.unknown}
    return [path_cell(prediction.path), *(_cell(known.get(name)) for name in header[1:])]


def _cell(value: str | float | bool | None) -> str:
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def check_place(path: Path) -> None:
    """Refuse to write predictions over something else.

    Raises
    ------
    PipelineError
        A folder is there, or a file that is neither empty nor a CSV file of predictions, or there is
        no folder for it.
    """
    if path.is_dir():
        raise PipelineError(f"{path} cannot be written: it is a folder; give another --out")
    if not path.parent.is_dir():
        raise PipelineError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    if not is_replaceable(path, START):
        raise PipelineError(f"{path} exists and is no CSV file of predictions; give another --out, or remove it")


class PredictionsFile:
    """A CSV file that has its name only when it is complete, and until then another one beside it.

    Parameters
    ----------
    path : path
        Replaced at the end if it exists, see `check_place`.
    header : list of str
        See `columns`.
    made_by : list
        What the predictions depend on. The lines of an interrupted run are kept if it is the same.

    Attributes
    ----------
    partial : Path
        Where the lines are until then, `FILE.partial-` and a number made of `header` and `made_by`.

    Raises
    ------
    PipelineError
        The file cannot be written there, something else stands there, or another process writes it.
    """

    def __init__(self, path: str | Path, header: Sequence[str], made_by: Sequence[Any]):
        self.path, self.header = Path(path), list(header)
        key = sha256_of(canonical_json([self.header, list(made_by)]).encode())[:12]
        self.partial = self.path.with_name(f"{self.path.name}.partial-{key}")
        check_place(self.path)
        try:
            with contextlib.ExitStack() as opened:
                opened.enter_context(lock_file(self.path))
                self._file: IO[bytes] = opened.enter_context(open(self.partial, "a+b"))
                self._opened = opened.pop_all()
        except OSError as error:
            raise PipelineError(f"{self.path} cannot be written: {error.strerror}; give another --out") from None

    def go_on(self, paths: Iterable[str], on_kept: Callable[[list[str]], None]) -> Iterator[str]:
        """Keep what an interrupted run finished of the same images.

        Lines are kept as long as they name the paths in their order, and none of the images was
        changed, or put there, after the last line was written.

        Parameters
        ----------
        paths : iterable of str
            All images.
        on_kept : callable
            Hears of each line that is kept.

        Returns
        -------
        iterator of str
            The other images.
        """
        paths, written = iter(paths), os.fstat(self._file.fileno()).st_mtime_ns
        records = self._records()
        cells, end = next(records, ([], 0))
        if cells != self.header:
            end, records = 0, iter(())
        for cells, stop in records:
            path = next(paths, None)
            if path is None or cells[0] != path_cell(path) or _is_newer(path, written):
                paths = paths if path is None else chain([path], paths)
                break
            on_kept(cells)
            end = stop
        self._file.truncate(end)
        if not end:
            self.write(self.header)
        return paths

    def _records(self) -> Iterator[tuple[list[str], int]]:
        """FullModel records and where each ends; a line that was cut off is none."""
        end, whole = 0, True

        def lines() -> Iterator[str]:
            nonlocal end, whole
            for line in self._file:
                end, whole = end + len(line), line.endswith(b"\n")
                yield line.decode("utf-8", "surrogateescape")

        self._file.seek(0)
        for cells in csv.reader(lines()):
            if not whole or len(cells) != len(self.header):
                return
            yield cells, end

    def write(self, cells: Sequence[str]) -> None:
        """Add a line; it is there for others to read when this returns."""
        self._file.write(csv_line(cells))
        self._file.flush()

    def finish(self) -> None:
        """Give the file its name, durably; older partial files of it are removed."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.partial, self.path)
        sync_directory(self.path.parent)
        ours = re.compile(re.escape(f"{self.path.name}.partial-") + "[0-9a-f]{12}")
        for left in [path for path in self.path.parent.iterdir() if ours.fullmatch(path.name)]:
            left.unlink()
        self.close()

    def close(self) -> None:
        """Leave the lines where they are, and let others write."""
        self._opened.close()


def _is_newer(path: str, written: int) -> bool:
    try:
        found = os.stat(path)  # noqa: PTH116  # what is no path at all is found out there
    except (OSError, ValueError):
        return False  # gone is not newer; one that comes back is
    return max(found.st_mtime_ns, found.st_ctime_ns) > written  # an older file that is moved here keeps its mtime
