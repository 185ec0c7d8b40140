"""Predictions as a CSV file: one line for each image, written while the images are labelled.

Paths are written so that a script can open them: bytes that are not UTF-8 stay as they are, and the
csv module quotes what it must. A path that a spreadsheet would take for a formula gets `./` in
front, which names the same file. Labels are never changed.
"""

import contextlib
import csv
import glob
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

from pipeline.errors import PipelineError
from pipeline.extraction.decode_ahead import read_image
from pipeline.files.durable import canonical_json, is_replaceable, open_durably, sha256_of
from pipeline.files.lock import lock_file
from pipeline.images.decode import DecodeError
from pipeline.predict.prediction import Prediction

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that starts so for a formula
ERROR, SHA256 = "error", "sha256"  # the last columns of the finished and of the partial file
START = rb"path,label,probability,"  # how the header of a CSV file of predictions starts


def columns(classes: Sequence[str], *, distances: bool) -> list[str]:
    """Return the header: path, label, probability, `p_CLASS` of each class, distance and unknown if wanted, error."""
    names = [f"p_{name}" for name in classes] + ["distance", "unknown"] * distances
    return ["path", "label", "probability", *names, ERROR]


def csv_line(cells: Sequence[str]) -> bytes:
    r"""Return one CSV record that ends in `\n`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # with "\n" alone it would not quote a "\r"
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "surrogateescape") + b"\n"


def cells_of(prediction: Prediction, header: Sequence[str]) -> list[str]:
    """Return the cells of a prediction in the columns of `header`."""
    values: dict[str, Any] = {f"p_{name}": probability for name, probability in prediction.probabilities.items()}
    values |= {"label": prediction.label, "probability": prediction.probability, ERROR: prediction.error}
    values |= {"distance": prediction.distance, "unknown": prediction.unknown}
    return [_path_cell(prediction.path), *(_format_cell(values.get(name)) for name in header[1:])]


def _path_cell(path: str) -> str:
    return f"./{path}" if path.startswith(FORMULA) else path


def _format_cell(value: str | float | bool | None) -> str:
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def check_place(path: Path) -> None:
    """Raise PipelineError if predictions cannot be written to `path` or would overwrite anything else."""
    if path.is_dir():
        raise PipelineError(f"{path} cannot be written: it is a folder; give another --out")
    if not path.parent.is_dir():
        raise PipelineError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    if not is_replaceable(path, START):
        raise PipelineError(f"{path} exists and is no CSV file of predictions; give another --out, or remove it")


class PredictionsFile:
    """A CSV file of predictions that gets its name when it is complete.

    Until then its lines stand in a partial file beside it, with the sha256 of each image in one more
    column, so that an interrupted run can be resumed. `made_by` holds everything that the predictions
    depend on, for JSON; only a partial file of the same header and `made_by` is resumed.

    Raises
    ------
    PipelineError
        The file cannot be written, `check_place` raises, or another process is writing the file.
    """

    def __init__(self, path: str | Path, header: Sequence[str], made_by: Sequence[Any]):
        self.path, self.header = Path(path), list(header)
        key = sha256_of(canonical_json([self.header, SHA256, list(made_by)]).encode())[:12]
        self.partial = self.path.with_name(f"{self.path.name}.partial-{key}")
        check_place(self.path)
        try:
            with contextlib.ExitStack() as opened:
                self._lock = opened.enter_context(lock_file(self.path))
                self._file: IO[bytes] = opened.enter_context(open(self.partial, "a+b"))
                self._opened = opened.pop_all()
        except OSError as error:
            raise PipelineError(f"{self.path} cannot be written: {error.strerror}; give another --out") from None

    def resume(self, paths: Iterable[str], on_line: Callable[[list[str]], None]) -> Iterator[str]:
        """Keep the lines of an interrupted run up to the first image that is another one now.

        An image is the same if it has the same path and its file the same bytes. `on_line` is called with
        the cells of each line that is kept. Returns the images that are still to be labelled.
        """
        paths, lines = iter(paths), self._read_lines()
        cells, end = next(lines, ([], 0))
        if cells != [*self.header, SHA256]:
            end, lines = 0, iter(())
        for cells, line_end in lines:
            path = next(paths, None)
            if path is None:
                break
            if cells[0] != _path_cell(path) or cells[-1] != _hash_image(path):
                paths = chain([path], paths)
                break
            on_line(cells[:-1])
            end = line_end
        self._file.truncate(end)
        if not end:
            self._write_line([*self.header, SHA256])
        return paths

    def _read_lines(self) -> Iterator[tuple[list[str], int]]:
        """Yield the cells and the end of each record, up to one that was cut off."""
        self._file.seek(0)
        complete_lines = (line for line in self._file if line.endswith(b"\n"))
        for cells in csv.reader(line.decode("utf-8", "surrogateescape") for line in complete_lines):
            if len(cells) != len(self.header) + 1:
                return
            yield cells, self._file.tell()

    def write(self, prediction: Prediction) -> None:
        """Add a line; others can read it when this returns."""
        self._write_line([*cells_of(prediction, self.header), prediction.sha256])

    def _write_line(self, cells: Sequence[str]) -> None:
        self._file.write(csv_line(cells))
        self._file.flush()

    def finish(self) -> None:
        """Write the complete file durably, without the sha256 column, and remove all partial files of it."""
        self._lock.check()
        with open_durably(self.path) as file:
            file.writelines(csv_line(cells[:-1]) for cells, _ in self._read_lines())
        self._file.close()
        for partial in list(self.path.parent.glob(f"{glob.escape(self.path.name)}.partial-{'[0-9a-f]' * 12}")):
            partial.unlink()
        self.close()

    def close(self) -> None:
        """Leave the partial file as it is, and let other processes write."""
        self._opened.close()


def _hash_image(path: str) -> str:
    try:
        return sha256_of(read_image(path))
    except DecodeError:
        return ""
