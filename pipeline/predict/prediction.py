"""`Prediction`: the label of an image."""

from typing import NamedTuple


class Prediction(NamedTuple):
    """The label of an image, or the reason why it has none.

    Attributes
    ----------
    path : str
    label : str or None
        The most probable class; None if the image cannot be used.
    probability : float or None
        The probability of `label`.
    probabilities : dict of str to float
        The probability of every class, sorted by name; empty if the image cannot be used.
    error : str
        Why the image cannot be used; empty if it can.
    distance : float or None
        Distance from the training images, see `UnknownDetector`; None unless it was requested.
    unknown : bool or None
        Whether the distance exceeds the threshold.
    sha256 : str
        The sha256 of the file, as 64 hexadecimal digits; empty if it cannot be read.
    """

    path: str
    label: str | None
    probability: float | None
    probabilities: dict[str, float]
    error: str = ""
    distance: float | None = None
    unknown: bool | None = None
    sha256: str = ""
