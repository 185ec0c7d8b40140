"""CSV files that list images."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import ImagesError


def read_csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Yield the rows of a CSV file whose header must name `columns`, each with its line number."""
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            header = rows.fieldnames or []
            for name in columns:
                if name not in header:
                    raise ImagesError(f"{path} line 1: no column '{name}'; there is {', '.join(header) or 'nothing'}")
            for row in rows:
                yield rows.line_num, row
    except csv.Error as error:
        raise ImagesError(f"{path} line {rows.line_num}: {error}") from None
    except OSError as error:
        raise ImagesError(f"{path} cannot be read: {error.strerror}") from None
