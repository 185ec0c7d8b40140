"""`ComparedRow`: what was measured of a spec, a row of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_type_hints

Pair = tuple[float, float]


@dataclass(frozen=True)
class ComparedRow:
    """A row of a comparison. What is not known is None; of a row with a `problem` nothing may be known.

    Attributes
    ----------
    name : str
        The name of the store below the comparison's directory.
    conv_base, size, precision : str
        The conv base with its arguments, the input size in pixels, and the number format.
    random_weights : bool
        Whether the conv base was never trained; such a row is never recommended.
    problem : str, optional
        Why the spec could not be compared.
    head : str, optional
        The head whose scores count.
    accuracy, accuracy_interval : float, (float, float), optional
        On the validation images, with its 95 % interval.
    difference, difference_interval : float, (float, float), optional
        Accuracy minus that of the best row on the same images; None for the best row itself.
    test_accuracy, test_interval : float, (float, float), optional
        On the test images; of the recommended row only.
    train_images, validation_images : int
        Images that the head was trained and scored on.
    ms : float, optional
        Milliseconds of an image in stage one on this machine.
    feature_mb, model_mb : float, optional
        Megabytes of the features of an image, and of the exported model.
    parameters : int, optional
        Of the conv base.
    estimated_seconds, measured_seconds : float, optional
        Of stage one on all train and validation images; measured once the store holds all of them.
    is_pareto, is_recommended : bool
        Whether no row is better in both accuracy and ms, and whether this row is the one to take.
    """

    name: str
    conv_base: str
    size: str
    precision: str
    random_weights: bool = False
    problem: str | None = None
    head: str | None = None
    accuracy: float | None = None
    accuracy_interval: Pair | None = None
    difference: float | None = None
    difference_interval: Pair | None = None
    test_accuracy: float | None = None
    test_interval: Pair | None = None
    train_images: int = 0
    validation_images: int = 0
    ms: float | None = None
    feature_mb: float | None = None
    model_mb: float | None = None
    parameters: int | None = None
    estimated_seconds: float | None = None
    measured_seconds: float | None = None
    is_pareto: bool = False
    is_recommended: bool = False

    @property
    def label(self) -> str:
        """The spec in words: `mobilenet_v2 alpha=0.35, 224, int8`."""
        return f"{self.conv_base}, {self.size}, {self.precision}" + (", RANDOM" if self.random_weights else "")

    @property
    def can_be_taken(self) -> bool:
        """Whether the row has scores of a trained conv base."""
        return self.accuracy is not None and self.ms is not None and not self.random_weights

    def to_json(self) -> dict[str, Any]:
        """Return all attributes as numbers, strings and tuples."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ComparedRow:
        """Return the row that `to_json` was called on; a value of another type raises ValueError."""
        if not isinstance(document, Mapping) or set(document) != {field.name for field in fields(cls)}:
            raise ValueError("a row does not have the fields of a row")
        hints = get_type_hints(cls)
        return cls(**{name: _check(name, value, hints[name]) for name, value in document.items()})


def _check(name: str, value: Any, hint: Any) -> Any:
    """Return a value of a document if it is of the type of its field."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(type(v) in (int, float) for v in value)
    allowed = {
        str: isinstance(value, str),
        bool: isinstance(value, bool),
        int: type(value) is int,
        str | None: value is None or isinstance(value, str),
        int | None: value is None or type(value) is int,
        float | None: value is None or is_number,
        Pair | None: value is None or is_pair,
    }
    if not allowed[hint]:
        raise ValueError(f"{name} {value!r} is of another type")
    return tuple(value) if is_pair else value
