"""The one door to Keras, and a place where building a model leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Thread
from types import ModuleType
from typing import Any, TypeVar

from pipeline.errors import SpecError

Result = TypeVar("Result")


def import_keras() -> ModuleType:
    """Keras on TensorFlow with channels last, the only set-up that features are defined for.

    Raises
    ------
    SpecError
        Keras is configured for another backend or axis order.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise SpecError(f"Keras runs on {keras.backend.backend()}, not TensorFlow: set KERAS_BACKEND=tensorflow")
    if keras.config.image_data_format() != "channels_last":
        raise SpecError("Keras puts channels first: set image_data_format to channels_last in ~/.keras/keras.json")
    return keras


def run_isolated(build: Callable[..., Result], *arguments: Any) -> Result:
    """Call `build(*arguments)` as if in a process of its own.

    Keras keeps its global state (dtype policy, seed generator, counters behind layer names, chatter
    on or off) in thread-local variables, so a new thread starts from the defaults and leaves the
    caller's alone. That makes names such as `activation_49` the same whatever was built before,
    and lets them serve as a cut. Keras draws its seeds from Python's `random`, which all threads
    share: its state is put back.
    """
    outcome: Future[Result] = Future()

    def work() -> None:
        try:
            outcome.set_result(build(*arguments))
        except BaseException as error:  # raised again by outcome.result()
            outcome.set_exception(error)

    state = random.getstate()
    try:
        Thread(target=work, daemon=True).start()  # a daemon: Ctrl-C does not wait for a download
        return outcome.result()
    finally:
        random.setstate(state)


def all_layers(model: Any) -> Iterator[Any]:
    """The layers of a model and of the models inside it, in order."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from all_layers(layer)


def one_line(error: BaseException, limit: int = 300) -> str:
    """The text of a library's error, fit for a message of one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]}…"
