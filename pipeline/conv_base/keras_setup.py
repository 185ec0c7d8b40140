"""Import Keras as features need it, and build models without changing Keras' global state."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, TypeVar

from pipeline.errors import SpecError

Model = Any  # a keras.Model; an annotation does not import Keras
Result = TypeVar("Result")


def import_keras() -> ModuleType:
    """Import Keras and check that it runs on TensorFlow with channels last, as features are defined."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise SpecError(f"Keras runs on {keras.backend.backend()}, not TensorFlow: set KERAS_BACKEND=tensorflow")
    if keras.config.image_data_format() != "channels_last":
        raise SpecError("Keras puts channels first: set image_data_format to channels_last in ~/.keras/keras.json")
    return keras


def import_keras_hub(path: Path) -> None:
    """Import keras-hub, whose classes Keras then finds; if it is missing, the SpecError tells how to install it."""
    try:
        import keras_hub  # noqa: F401
        import safetensors  # noqa: F401
    except ImportError as error:
        raise SpecError(f"{path} needs packages that are missing: pip install -e '.[hub]' ({error})") from None


def run_isolated(build: Callable[..., Result], *arguments: Any) -> Result:
    """Call `build(*arguments)` with Keras' global state at its defaults, and leave the caller's unchanged.

    Keras keeps its global state (dtype policy, seed generator, counters of layer names, interactive logging) in
    thread-local variables, so a new thread starts from the defaults. A generated layer name such as `activation_49`
    therefore can be used as a cut. Keras draws its seeds from Python's `random`, whose state is restored afterwards.
    """
    outcome: Future[Result] = Future()

    def work() -> None:
        try:
            outcome.set_result(build(*arguments))
        except BaseException as error:  # raised again by outcome.result()
            outcome.set_exception(error)

    state = random.getstate()
    try:
        Thread(target=work, daemon=True).start()  # a daemon, so that Ctrl-C does not wait for a download
        return outcome.result()
    finally:
        random.setstate(state)


def all_layers(model: Any) -> Iterator[Any]:
    """Yield the layers of a model and of the models nested in it, in order."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from all_layers(layer)


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return the text of a library's error as one line of limited length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]}…"
