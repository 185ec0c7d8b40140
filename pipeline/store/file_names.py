"""Names of the files and folders in a store's directory.

manifest.json               the spec, the index in use and the finished shards
index-SHA256.h5             the images, and the row of each
shards/START-STOP.h5        the features of a range of rows
shards/.done-...            a shard that another process computed, to be checked and renamed by the writer
probe.h5                    the features of fixed images, which show how the machine rounds that made the store
conv_base.tflite            the conv base of a store whose precision is int8, which its views use as well
parts/N/                    the int8 conv base of the N-th part of a joined store
views/NNN/                  augmented copies: a store each
heads/NAME/                 saved heads
finetuning/                 the state of a fine-tuning that was interrupted
quarantine/                 damaged shards that were replaced
duplicates.json             the result of `find_duplicates`
report.html                 the page of `write_report`
.maker-...                  what made the staged shards
.heads-..., .duplicates-...  features that workers of a cluster share, until the end of a run
.lock, .writer.json         the lock of a writer, and which process holds it; the second is a lease without locks
"""

import re
from pathlib import Path

from pipeline.files.lock import HOLDER, LOCK

MANIFEST = "manifest.json"
SHARDS = "shards"
PROBE = "probe.h5"
INT8_MODEL = "conv_base.tflite"
PARTS = "parts"
VIEWS = "views"
HEADS = "heads"
FINETUNING = "finetuning"
QUARANTINE = "quarantine"
DUPLICATES = "duplicates.json"
REPORT = "report.html"
INDEX = re.compile(r"index-[0-9a-f]+\.h5")
NAMES = frozenset(
    {MANIFEST, SHARDS, PROBE, INT8_MODEL, PARTS, VIEWS, HEADS, FINETUNING, QUARANTINE, DUPLICATES, REPORT, LOCK, HOLDER}
)


def index_name(sha256: str) -> str:
    """Return the file name of the index whose bytes have this sha256."""
    return f"index-{sha256[:12]}.h5"


def shard_name(start: int, stop: int) -> str:
    """Return the file name of the shard of rows `start` to `stop`."""
    return f"{start:010d}-{stop:010d}.h5"


def part_directory(directory: Path, number: int) -> Path:
    """Return the directory of the files of a part of a joined store, counted from 1."""
    return directory / PARTS / str(number)


def view_directory(directory: Path, number: int) -> Path:
    """Return the directory of an augmented view of a store."""
    return directory / VIEWS / f"{number:03d}"
