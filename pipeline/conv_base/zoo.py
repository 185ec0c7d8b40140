"""List the networks that have a name, those of `keras.applications` and the classic ones; find and build one."""

import contextlib
import difflib
import http.client
import inspect
import logging
import re
import socket
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pipeline.conv_base.classic import CLASSIC_MODELS
from pipeline.conv_base.keras_setup import Model, import_keras, one_line
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import SpecError, WeightsUnavailable

logger = logging.getLogger(__name__)

SPEC_ARGUMENTS = {  # which a user does not give as arguments of the model
    *("include_top", "weights", "input_shape", "input_tensor"),
    *("pooling", "classes", "classifier_activation", "name"),
}
DOWNLOAD_TIMEOUT = 30.0  # seconds without data


class ZooModel(NamedTuple):
    """A model function of `keras.applications` or of `pipeline.conv_base.classic`."""

    name: str
    function: Callable[..., Model]

    @property
    def preprocess_input(self) -> Callable[..., Any]:
        """The `preprocess_input` of the module that defines the function."""
        return vars(inspect.getmodule(self.function))["preprocess_input"]


def conv_base_names() -> list[str]:
    """Return the names of the models in snake case: `vgg16`, `mobilenet_v2`, ..., `lenet5`, ..."""
    return sorted(model.name for model in _zoo().values())


def has_imagenet_weights(name: str) -> bool:
    """Return whether Keras has ImageNet weights for the model of a name; Keras is not imported."""
    return normalise_name(name) not in {function.__name__.lower() for function in CLASSIC_MODELS}


def find_zoo_model(name: str) -> ZooModel:
    """Find a model by its name, ignoring case, `_` and `-`; the SpecError for an unknown one gives the closest."""
    zoo = _zoo()
    if model := zoo.get(normalise_name(name)):
        return model
    close = sorted(zoo[key].name for key in difflib.get_close_matches(normalise_name(name), zoo, n=3))
    hint = (
        f"did you mean {' or '.join(close)}?"
        if close
        else "give the name of a keras.applications model in snake case (vgg16, mobilenet_v2), a .keras or .onnx "
        "file, or a directory with a slash (./vit/)"
    )
    raise SpecError(f"unknown conv base {name!r}; {hint}")


def build(zoo_model: ZooModel, spec: ConvBaseSpec, weights: str | None = None) -> Model:
    """Build a model without its top for images of the spec's size, with `weights` "imagenet" or Keras' initial ones.

    An argument or a size that the model does not take raises SpecError; ImageNet weights that do not exist or cannot
    be downloaded raise WeightsUnavailable.
    """
    arguments = [name for name in inspect.signature(zoo_model.function).parameters if name not in SPEC_ARGUMENTS]
    if unknown := sorted(set(spec.conv_base_args) - set(arguments)):
        has = f"it has {', '.join(arguments)}" if arguments else "it takes none"
        raise SpecError(f"{zoo_model.name} has no argument {', '.join(map(repr, unknown))}; {has}")
    if weights and not has_imagenet_weights(zoo_model.name):
        raise WeightsUnavailable(
            f"Keras has no ImageNet weights for {zoo_model.name}: train it on your images with train-base, or give a"
            " weights file with --weights FILE (make: WEIGHTS=FILE), or use --weights random"
        )
    try:
        with _quiet_download(zoo_model.name) if weights else contextlib.nullcontext():
            return zoo_model.function(
                include_top=False, weights=weights, input_shape=(*spec.height_width, 3), **spec.conv_base_args
            )
    except Exception as error:  # Keras raises a bare Exception for a failed download
        if (explained := _explain(error, zoo_model.name, spec)) is None:
            raise
        raise explained from error


def _zoo() -> dict[str, ZooModel]:
    models = {}
    of_keras: Iterator[Any] = filter(inspect.isfunction, vars(import_keras().applications).values())
    for function in (*of_keras, *CLASSIC_MODELS):
        whole_words = function.__name__.replace("LeNet", "lenet").replace("Net", "net").replace("NeXt", "next")
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", whole_words).lower()
        models[normalise_name(name)] = ZooModel(name, function)
    return models


def normalise_name(name: str) -> str:
    """Return the name of a conv base without its case, `_` and `-`."""
    return re.sub("[_-]", "", name).lower()


@contextlib.contextmanager
def _quiet_download(name: str) -> Iterator[None]:
    logger.info("loading the ImageNet weights of %s from Keras' cache, or downloading them", name)
    import_keras().config.disable_interactive_logging()  # in this thread only; else the download prints its progress
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or DOWNLOAD_TIMEOUT)
    try:
        with warnings.catch_warnings():
            # MobileNet warns which of its size-specific weights it takes; `weights_sha256` distinguishes them.
            warnings.filterwarnings("ignore", message=".*Weights for input shape")
            yield
    finally:
        socket.setdefaulttimeout(before)


def _explain(error: Exception, name: str, spec: ConvBaseSpec) -> SpecError | None:
    """Return the error to raise for an error of a model function; None if its cause is unknown."""
    text = one_line(error)
    failed = text.startswith(("URL fetch failure", "Incomplete or corrupted file"))
    if failed or isinstance(error, (OSError, http.client.HTTPException)):
        return WeightsUnavailable(
            f"the ImageNet weights of {name} cannot be downloaded ({text}): go online, or give a file with"
            " --weights FILE (make: WEIGHTS=FILE), or use --weights random"
        )
    height, width = spec.height_width
    if smallest := re.search(r"at least (\d+)\s*x\s*(\d+)", text):
        return SpecError(f"{name} takes images of at least {'x'.join(smallest.groups())}, not {height}x{width}")
    if isinstance(error, (ValueError, TypeError, ArithmeticError)):
        arguments = ", ".join(f"{key}={value!r}" for key, value in spec.conv_base_args.items())
        return SpecError(f"{name} cannot be built with {arguments or 'no arguments'} at {height}x{width}: {text}")
    return None
