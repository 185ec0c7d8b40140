"""The exception classes of the package. Each message says what is wrong, where, and what to do."""

from collections.abc import Sequence


class PipelineError(Exception):
    """Base class of all errors that this package raises deliberately; the message is one line for the user."""

    exit_status = 2


class ImagesError(PipelineError):
    """The images or their labels cannot be used: the folder does not exist, or there are no images or one class."""


class SpecError(PipelineError):
    """No conv base can be made from the spec, because of its name, weights, size, cut or preprocessing."""


class WeightsUnavailable(SpecError):
    """There are no ImageNet weights for the conv base, or they cannot be downloaded."""


class StoreError(PipelineError):
    """The store cannot be used for the requested operation."""


class StoreBusy(StoreError):
    """Another process is writing to the store."""


class StoreDamaged(StoreError):
    """A file of the store is missing, or was changed after it was written."""

    exit_status = 1


class StoreMismatch(StoreError):
    """Two stores, heads or models were made with different specs.

    Attributes
    ----------
    differences : list of (field, stored value, requested value)
    """

    def __init__(self, message: str, differences: Sequence[tuple[str, object, object]] = ()):
        super().__init__(message)
        self.differences = list(differences)


class HeadError(PipelineError):
    """A head is unknown, untrained or damaged, or was trained on other features."""


class ExportError(PipelineError):
    """A model cannot be exported as requested, or an exported file cannot be used."""


class TooManyBadImages(PipelineError):
    """More images than allowed have no features."""

    exit_status = 1


class ClusterError(PipelineError):
    """A cluster cannot be used: Dask is not installed, no scheduler answers, or no worker is left."""


class ClusterFailed(ClusterError):
    """A cluster did not do all of its work: its scheduler is gone, or tasks failed. What was finished is kept."""

    exit_status = 1
