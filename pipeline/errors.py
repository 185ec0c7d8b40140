"""The errors a caller may want to tell apart. Each says what, where and what to do."""

from __future__ import annotations

from collections.abc import Sequence


class PipelineError(Exception):
    """Any error this package raises on purpose; its text is one line fit for a user."""

    exit_status = 2


class ImagesError(PipelineError):
    """The images or their labels cannot be used: no such folder, no images, one class."""


class SpecError(PipelineError):
    """No conv base can be made from the spec: name, weights, size, cut or preprocessing."""


class WeightsUnavailable(SpecError):
    """The ImageNet weights cannot be downloaded."""


class StoreError(PipelineError):
    """The store cannot be used as asked."""


class StoreBusy(StoreError):
    """Another process is writing to the store."""


class StoreDamaged(StoreError):
    """A file of the store is missing or is not what it was when it was written."""

    exit_status = 1


class StoreMismatch(StoreError):
    """Two things were made from different specs.

    Attributes
    ----------
    differences : list of (field, stored value, asked value)
    """

    def __init__(self, message: str, differences: Sequence[tuple[str, object, object]] = ()):
        super().__init__(message)
        self.differences = list(differences)


class HeadError(PipelineError):
    """A head is unknown, not trained yet, damaged, or does not belong to these features."""


class ExportError(PipelineError):
    """A model cannot be written as asked, or an exported file cannot be used."""


class TooManyBadImages(PipelineError):
    """More images than allowed could not be used."""

    exit_status = 1
