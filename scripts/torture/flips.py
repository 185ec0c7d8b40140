"""Flip single random bits of a store: each one must be detected, or have no effect."""

import hashlib
import random
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import PipelineError, load_head, make_head, open_features, save_head
from pipeline.extraction.conv_base_loading import load_int8_conv_base

from . import children
from .oracle import Sample, fill
from .results import Result

HEADS = {"logistic": {}, "forest": {"n_estimators": 5}}
BATCH = 50  # flips per child


class Flip(NamedTuple):
    """One bit of a file."""

    path: Path
    bit: int

    def __str__(self) -> str:
        return f"bit {self.bit} of {self.path.name}"


def flip_bits(sample: Sample, work: Path, flips: int, seed: int) -> Result:
    """Flip bits, one at a time; files are drawn with equal probability, and so are the bits of a file."""
    result, cache, draw = Result("a flipped bit"), work / "flipped", random.Random(seed)
    result.ran(children.run(fill, sample, cache), "filling the store")
    # Orderly: workers of scikit-learn hold the pipes of the child until they end, and only then they end with it.
    if not result.ran(children.run(_train, cache, orderly=True), "training the heads"):
        return result.done()
    originals = {path: path.read_bytes() for path in sorted(cache.rglob("*")) if path.is_file()}
    files = [path for path, data in originals.items() if data]
    result.notes.append(f"{len(files)} files of these kinds: {', '.join(sorted({_kind(path) for path in files}))}")
    chosen = [Flip(path, draw.randrange(8 * len(originals[path]))) for path in draw.choices(files, k=flips)]
    for start in range(0, flips, BATCH):
        batch = chosen[start : start + BATCH]
        outcome = children.run(_try_flips, cache, batch, orderly=True)
        if result.ran(outcome, f"flips {start} to {start + BATCH}"):
            for flip, verdict in zip(batch, outcome.value, strict=True):
                result.expect(verdict in ("detected", "without effect"), f"{flip}: {verdict}")
                result.tried[verdict if verdict in ("detected", "without effect") else "undetected"] += 1
        for path, data in originals.items():  # a child that crashed left its flip behind
            path.write_bytes(data)
        result.show(min(start + BATCH, flips), flips)
    result.wrong_rows = result.tried["undetected"]
    return result.done()


def _kind(path: Path) -> str:
    return "a shard" if path.parent.name == "shards" else "the index" if "index-" in path.name else path.name


def _train(cache: Path) -> None:
    store = open_features(cache)
    X, y = store.load("train")
    for name, params in HEADS.items():
        head = make_head(name, **params).fit(X, y)
        metrics = {"accuracy": float(head.score(X, y))}
        where = store.heads_directory / name
        save_head(head, where, classes=store.classes, fingerprint=store.fingerprint, metrics=metrics)


def _try_flips(cache: Path, flips: list[Flip]) -> list[str]:
    """Try flips in a child; return `detected`, `without effect` or what happened instead, for each flip."""
    expected, verdicts = _digests(cache), []
    for path, bit in flips:
        original = path.read_bytes()
        data = bytearray(original)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            verdicts.append("without effect" if _digests(cache) == expected else "read as something else")
        except PipelineError as error:
            verdicts.append("detected" if "\n" not in str(error) else f"an error of several lines: {error}")
        except Exception as error:
            verdicts.append(f"raised {type(error).__name__}: {error}")
        path.write_bytes(original)
    return verdicts


def _digests(cache: Path) -> list[str]:
    """Return a digest of everything that can be read from a store and its heads."""
    from pipeline.heads.load_head import read_metrics

    store = open_features(cache)
    X, y = store.load()
    values: list[Any] = [X.tobytes(), y.tobytes(), store.ids(), store.classes, store.status.tobytes(), store.bad]
    values += [store.images.splits.tobytes(), store.spec, store.manifest]
    if store.spec.precision == "int8":
        values.append(load_int8_conv_base(store).model)
    for name in HEADS:
        head = load_head(store.heads_directory / name, fingerprint=store.fingerprint)
        values += [head.predict_proba(X[:32]).tobytes(), head.class_names_, read_metrics(store.heads_directory / name)]
    return [hashlib.sha256(item if isinstance(item, bytes) else repr(item).encode()).hexdigest() for item in values]
