"""`FinetunePlan`: what fine-tuning is about to do, and the room that it takes."""

from __future__ import annotations

from typing import NamedTuple


class FinetunePlan(NamedTuple):
    """What is about to be done.

    Attributes
    ----------
    parameters : int
        Weights above the cut that will be trained.
    images : int
        To train on in an epoch.
    views : int
        Of each train image, of which an epoch draws one.
    feature_shape : tuple of int
        Of one image, where the top layers end.
    feature_bytes : int
        Of the features of all images there, kept while the head is trained on them.
    on_disk : bool
        Whether they are kept in a temporary file, as memory is short.
    """

    parameters: int
    images: int
    views: int
    feature_shape: tuple[int, ...]
    feature_bytes: int
    on_disk: bool
