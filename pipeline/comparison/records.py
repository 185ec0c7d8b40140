"""`Records`: what was measured of each store, kept so that it is not measured again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from pipeline.comparison.stage_timer import Timing
from pipeline.evaluation.bootstrap import Interval
from pipeline.files.cores import available_cores


@dataclass
class Score:
    """The score of the best head on a subset; `outcomes` has a digit for each validation image, see `paired`."""

    head: str
    accuracy: float
    interval: Interval | None
    outcomes: str
    seconds: float  # to train all heads
    test: tuple[float, Interval | None] | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the score that `asdict` was called on; a wrong value raises KeyError, TypeError or ValueError."""
        outcomes, test = document["outcomes"], document["test"]
        if not isinstance(outcomes, str) or set(outcomes) - set("012"):
            raise ValueError("the outcomes of a score are no digits")
        return cls(
            head=str(document["head"]),
            accuracy=float(document["accuracy"]),
            interval=_parse_interval(document["interval"]),
            outcomes=outcomes,
            seconds=float(document["seconds"]),
            test=test and (float(test[0]), _parse_interval(test[1])),
        )

    def outcome_array(self) -> np.ndarray:
        """Return the outcomes as integers, ndarray of shape (n,), int64."""
        return np.frombuffer(self.outcomes.encode(), np.uint8).astype(np.int64) - ord("0")


def _parse_interval(interval: Any) -> Interval | None:
    return interval and (float(interval[0]), float(interval[1]))


@dataclass
class Step:
    """A run of stage one: the images that it computed, its seconds, and how many were estimated before it."""

    images: int
    seconds: float
    estimated: float | None


@dataclass
class Record:
    """What was measured of a store. `model_bytes` is None by a head whose model cannot be exported."""

    machine: str
    timing: Timing | None = None
    steps: list[Step] = field(default_factory=list)
    scores: dict[str, Score] = field(default_factory=dict)  # by the key of the subset and the names of the heads
    model_bytes: dict[str, int | None] = field(default_factory=dict)  # by the head and the number of classes

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the record that `asdict` was called on; a wrong value raises TypeError or ValueError."""
        if not isinstance(document["machine"], str):
            raise ValueError("a record names no machine")
        return cls(
            machine=document["machine"],
            timing=document["timing"] and Timing(**{name: float(v) for name, v in document["timing"].items()}),
            steps=[Step(int(step["images"]), float(step["seconds"]), step["estimated"]) for step in document["steps"]],
            scores={str(key): Score.from_json(score) for key, score in document["scores"].items()},
            model_bytes={str(head): n and int(n) for head, n in document["model_bytes"].items()},
        )


class Records:
    """The records of a comparison by the fingerprint of the store, and `parameters` by the conv base."""

    def __init__(self) -> None:
        self.machine = f"{platform.node()}, {available_cores()} cores"
        self._records: dict[str, Record] = {}
        self.parameters: dict[str, int | None] = {}

    def __getitem__(self, fingerprint: str) -> Record:
        """Return the record of a store; the speeds of another machine are forgotten."""
        record = self._records.setdefault(fingerprint, Record(self.machine))
        if record.machine != self.machine:
            record.machine, record.timing, record.steps = self.machine, None, []
        return record

    def to_json(self) -> dict[str, Any]:
        """Return all records as numbers, strings, lists and dicts."""
        records = {fingerprint: asdict(record) for fingerprint, record in self._records.items()}
        return {"records": records, "parameters": self.parameters}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the records that `to_json` was called on; a wrong value raises KeyError, TypeError or ValueError."""
        records = cls()
        records._records = {name: Record.from_json(record) for name, record in document["records"].items()}
        records.parameters = {str(base): n and int(n) for base, n in document["parameters"].items()}
        return records
