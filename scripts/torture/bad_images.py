"""Put each image of the corpus of bad and odd images among good ones and run stage one on them."""

import shutil
from pathlib import Path
from typing import Any

from pipeline import extract_features, scan_images
from pipeline.images.status import Status
from tests.bad_images import bad_images

from . import children, stand_ins
from .children import Outcome
from .oracle import Sample, count_wrong_rows, features_of
from .results import Result

MAX_MEMORY = 200 << 20  # bytes that one image may cost
GOOD = 6  # images around each bad one, half of them before it


def send_bad_images(sample: Sample, work: Path, every: int = 1) -> Result:
    """Extract each bad image, or each `every`-th one, in a child; check its status, the other rows and the memory."""
    result, folder = Result("a bad image among good ones"), work / "bad"
    corpus = children.run(_write_corpus, work / "corpus").value
    names = list(corpus)[::every]
    max_bytes, max_name = 0, ""
    for done, name in enumerate(names, 1):
        shutil.rmtree(folder, ignore_errors=True)
        _copy_good_images(sample, folder)
        (folder / "photos" / "a").joinpath(f"5-{name}").write_bytes((work / "corpus" / name).read_bytes())
        outcome = children.run(_extract, folder, orderly=True)
        if result.ran(outcome, name):
            grown = outcome.peak - outcome.value["idle"]
            max_bytes, max_name = max((max_bytes, max_name), (grown, name))
            result.expect(grown <= MAX_MEMORY, f"{name} took {grown >> 20} MiB")
            _check(name, corpus[name], outcome, folder, sample.expected, result)
        result.tried["images"] += 1
        result.show(done, len(names))
    result.expect(len(names) * every >= 50, f"the corpus has {len(names) * every} images only")
    result.notes.append(f"{max_name} took the most memory: {max_bytes >> 20} MiB")
    return result.done()


def _write_corpus(folder: Path) -> dict[str, Status]:
    """Write the corpus; in a child, because making decompression bombs takes memory."""
    folder.mkdir()
    expected = {}
    for name, data, status in bad_images():
        (folder / name).write_bytes(data)
        expected[name] = status
    return expected


def _copy_good_images(sample: Sample, folder: Path) -> None:
    """Copy good images into two classes, so that ids of the first come before and after the bad image."""
    paths = [Path(path) for path in dict(zip(sample.images.content_keys(), sample.images.paths, strict=True)).values()]
    for number, path in enumerate(paths[:GOOD]):
        copy = folder / "photos" / "ab"[number % 2] / f"{number * 2}{path.suffix}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


def _extract(folder: Path) -> dict[str, Any]:
    """Extract features in a child; return status and content by id, and the memory that was used before."""
    idle = children.peak_memory()
    images = scan_images(folder / "photos")
    store = extract_features(images, folder / "cache", stand_ins.SPEC, batch_size=4, workers=1)
    skipped = {file.path: None for file in images.skipped}
    rows = dict(zip(images.ids, store.index.contents[store.index.rows].tolist(), strict=True))
    statuses = dict(zip(images.ids, map(int, store.status), strict=True))
    return {"status": {**skipped, **statuses}, "content": rows, "idle": idle}


def _check(
    name: str, status: Status, outcome: Outcome, folder: Path, expected: dict[bytes, bytes | None], result: Result
) -> None:
    id = f"a/5-{name}"
    got, content = outcome.value["status"].get(id, "gone"), outcome.value["content"].get(id)
    passed_over = got is None and status == Status.UNDECODABLE  # it was skipped: neither name nor bytes are an image's
    result.expect(got == status or passed_over, f"{name}: status {got}, not {int(status)}")
    others = dict(expected)
    if content is not None:
        others[bytes(content)] = features_of(folder / "photos" / id) if status == Status.OK else None
    for shard in (folder / "cache" / "shards").glob("*.h5"):
        wrong, rows = count_wrong_rows(shard.read_bytes(), others)
        result.wrong_rows += wrong
        result.expect(wrong == 0, f"{name}: {wrong} of {rows} rows are not their image's")
        result.expect(rows == GOOD + (content is not None), f"{name}: {rows} rows")
