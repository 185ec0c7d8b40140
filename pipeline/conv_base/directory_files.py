"""What the files of a directory say about the conv base in it, read without any library; they are not trusted."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from pipeline.errors import SpecError
from pipeline.files.durable import canonical_json, sha256_of, sha256_of_file
from pipeline.files.file_structure import HUB_BACKBONES, check_classes

CONFIG = "config.json"
SAFETENSORS, KERAS_WEIGHTS = "model.safetensors", "model.weights.h5"
SHARDS = ("model.safetensors.index.json", "model.weights.json")  # which list the parts of weights in several files
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
PREPROCESSING = {"keras": "image_converter.json", "transformers": "preprocessor_config.json", "timm": CONFIG}
MODEL_TYPES = ("deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "swin", "vit")  # of Hugging Face, for images
MAX_JSON = 2**23  # bytes of a JSON file; 22,000 class names take 2**21
MAX_NUMBER = 2**17  # in a config: sides, channels and patches
MAX_LAYERS = 1000
MORE_PARAMETERS = 2**24  # than bytes of the weights, such as interpolated position embeddings
FOR_ALL = "give --preprocessing rescale, tf, torch, caffe or none"


class Directory(NamedTuple):
    """A directory with a conv base."""

    path: Path
    format: str  # "keras", "transformers" or "timm"
    config: dict[str, Any]

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.path / (KERAS_WEIGHTS if self.format == "keras" else SAFETENSORS)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the network."""
        return cast(dict[str, Any], self.config["config"]) if self.format == "keras" else self.config

    @property
    def own_size(self) -> tuple[int, int] | None:
        """The height and width that the config names, if it does."""
        return _pair(self.settings.get("image_shape" if self.format == "keras" else "image_size"))


def read_directory(path: Path) -> Directory:
    """Read the config of a directory in the format of Keras, Hugging Face or timm, and check what it asks for.

    SpecError says that the directory is none of these, or names code, classes or sizes that are refused.
    """
    if not path.is_dir():
        raise SpecError(f"conv base {path} is not a directory; one that is given by its path holds a {CONFIG}")
    config = _read_json(path / CONFIG)
    keys = {"registered_name": "keras", "model_type": "transformers", "architecture": "timm"}
    format = next((format for key, format in keys.items() if isinstance(config.get(key), str)), None)
    if format is None:
        raise SpecError(f"{path / CONFIG} is no config of a Keras preset, Hugging Face or timm")
    if format == "transformers" and config["model_type"] not in MODEL_TYPES:
        raise SpecError(f"{path}: model type {config['model_type']!r} is none of {', '.join(MODEL_TYPES)}")
    try:
        check_classes(config)
    except ValueError as error:
        raise SpecError(f"{path / CONFIG} is refused: {error}") from None
    is_network = format != "keras" or config["registered_name"] in HUB_BACKBONES
    if not is_network or (format == "keras" and not isinstance(config.get("config"), dict)):
        raise SpecError(f"{path}: {config['registered_name']} is not a network of keras-hub for images")
    directory = Directory(path, format, config)
    _check_weights(directory)
    _check_numbers(directory)
    return directory


def _check_numbers(directory: Directory) -> None:
    """Refuse a config whose network would take far more time or memory to build than its weights are large."""
    file, settings = directory.path / CONFIG, directory.settings
    for name, number in _numbers(directory.config):
        is_count = any(word in name for word in ("layer", "block", "depth", "repeat"))
        if number > (MAX_LAYERS if is_count else MAX_NUMBER):
            raise SpecError(f"{file} is refused: {name} {number} is too large")
    # keras-hub draws position embeddings before they are loaded or interpolated.
    patch = _pair(settings.get("patch_size")) or (1, 1)
    widths = [settings.get(name) for name in ("hidden_size", "hidden_dim", "embed_dim")]
    width = max((width for width in widths if isinstance(width, int)), default=1)
    for size in (directory.own_size, _pair(settings.get("position_embedding_shape"))):
        rows, columns = (side // max(1, step) for side, step in zip(size or (0, 0), patch, strict=True))
        if rows * columns * width > directory.weights.stat().st_size + MORE_PARAMETERS:
            raise SpecError(f"{file} is refused: {rows}x{columns} patches are far more than the weights hold")


def hash_directory(path: Path, preprocessing: str) -> str:
    """Return the sha256 of the names and contents of the files that a conv base is loaded from."""
    directory = read_directory(path)
    files = {path / CONFIG, directory.weights}
    if preprocessing == "own":
        files.add(path / PREPROCESSING[directory.format])
    return sha256_of(canonical_json({file.name: sha256_of_file(file) for file in sorted(files)}).encode())


class Rescaling(NamedTuple):
    """The preprocessing of a directory: RGB in 0..255 times `scale` plus `offset`, one number for each colour."""

    scale: list[float]
    offset: list[float]


def read_rescaling(directory: Directory) -> Rescaling:
    """Read how a directory preprocesses images; its resizing is not used. SpecError says that it does not tell."""
    file = directory.path / PREPROCESSING[directory.format]
    if not file.exists():
        raise SpecError(f"{directory.path} has no {file.name}, which would tell its preprocessing: {FOR_ALL}")
    settings = _read_json(file)
    try:
        if directory.format == "keras":
            rescaling = _of_keras(settings["config"])
        elif directory.format == "timm":
            config = settings["pretrained_cfg"]
            rescaling = _of_mean_std(config["mean"], config["std"], 1 / 255)
        else:
            factor = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1
            normalize = settings.get("do_normalize", True)
            mean, std = (settings["image_mean"], settings["image_std"]) if normalize else (0, 1)
            rescaling = _of_mean_std(mean, std, factor)
        if not all(math.isfinite(number) for number in (*rescaling.scale, *rescaling.offset)):
            raise ValueError("numbers that are not finite")
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        problem = f"{type(error).__name__} {error}"
        raise SpecError(f"{file} does not tell mean and standard deviation ({problem}): {FOR_ALL}") from None
    return rescaling


def _of_keras(config: dict[str, Any]) -> Rescaling:
    scale = 1 if config.get("scale") is None else config["scale"]
    if "mean" in config and "variance" in config:  # in presets of older versions
        return _of_mean_std(config["mean"], [math.sqrt(value) for value in config["variance"]], scale)
    return Rescaling(_three(scale), _three(config.get("offset") or 0))


def _of_mean_std(mean: Any, std: Any, factor: Any) -> Rescaling:
    stds = _three(std)
    scale = [value / std for value, std in zip(_three(factor), stds, strict=True)]
    return Rescaling(scale, [-mean / std for mean, std in zip(_three(mean), stds, strict=True)])


def _three(value: Any) -> list[float]:
    """Return a number for each colour, given three or one for all."""
    values = value if isinstance(value, list) else [value] * 3
    if len(values) != 3:
        raise ValueError(f"{len(values)} numbers, not 3")
    return [float(number) for number in values]


def _check_weights(directory: Directory) -> None:
    path, name = directory.path, directory.weights.name
    if sharded := [shards for shards in SHARDS if (path / shards).exists()]:
        raise SpecError(f"{path} holds weights in several files ({sharded[0]}); save them as one {name}")
    if directory.weights.is_file():
        return
    pickles = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
    refused = f"; {pickles[0]} can run code and is not read" if pickles else ""
    raise SpecError(f"{path} has no {name}, the weights{refused}")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        with open(file, "rb") as opened:
            data = opened.read(MAX_JSON + 1)
        if len(data) > MAX_JSON:
            raise ValueError(f"it has more than {MAX_JSON:,} bytes")
        value = json.loads(data)
    except OSError as error:
        raise SpecError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{file} is refused: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise SpecError(f"{file} is refused: it is not an object of JSON")
    if "auto_map" in value:
        raise SpecError(f"{file} is refused: its auto_map names code of the directory, which is never run")
    return value


def _pair(size: Any) -> tuple[int, int] | None:
    """Return height and width, given both, perhaps with more, or one number for both; None for anything else."""
    pair = [size, size] if isinstance(size, int) else size[:2] if isinstance(size, list) else []
    return (pair[0], pair[1]) if len(pair) == 2 and all(isinstance(side, int) for side in pair) else None


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield all numbers in a config with the name of the setting that they belong to."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("id2label", "label2id", "label_names"):
                yield from _numbers(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, name)
    elif isinstance(value, (int, float)):
        yield name, value
