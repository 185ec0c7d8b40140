"""`Candidate`: a spec that takes part in a comparison, and the name of its store; `JoinedCandidate`: two of them."""

import contextlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from pipeline.conv_base.hash_files import hash_files
from pipeline.conv_base.spec import WEIGHTS_WORDS, ConvBaseSpec
from pipeline.errors import SpecError
from pipeline.files.durable import canonical_json, sha256_of, sha256_of_file

IN_NAME = ("conv_base", "conv_base_args", "size", "precision")  # settings that the name of a store shows
HASH_DIGITS = 8


@dataclass(frozen=True)
class Candidate:
    """A spec and the name of its store; no two specs share a name."""

    name: str
    spec: ConvBaseSpec

    @property
    def conv_base(self) -> str:
        """The conv base with its arguments, in words; of a path its name alone."""
        arguments = "".join(f" {key}={value}" for key, value in self.spec.conv_base_args.items())
        spec = self.spec
        return f"{spec.name if spec.kind == 'directory' else Path(spec.conv_base).name}{arguments}"

    @property
    def size(self) -> str:
        """The input size in words."""
        height, width = self.spec.height_width
        return str(height) if height == width else f"{height}x{width}"

    @property
    def precision(self) -> str:
        """The number format."""
        return self.spec.precision

    @property
    def random_weights(self) -> bool:
        """Whether the conv base was never trained."""
        return self.spec.weights == "random"


@dataclass(frozen=True)
class JoinedCandidate:
    """Two candidates whose features stand side by side in one store, see `join_stores`."""

    parts: tuple[Candidate, Candidate]
    random_weights = False  # such candidates are not joined

    @property
    def name(self) -> str:
        """The name of the store."""
        return "+".join(part.name for part in self.parts)

    @property
    def conv_base(self) -> str:
        """Both conv bases."""
        return " + ".join(part.conv_base for part in self.parts)

    @property
    def size(self) -> str:
        """Both input sizes."""
        return " + ".join(part.size for part in self.parts)

    @property
    def precision(self) -> str:
        """Both number formats."""
        return " + ".join(part.precision for part in self.parts)


@dataclass(frozen=True)
class RefusedSpec:
    """A combination of settings that no `ConvBaseSpec` can have, such as a precision that a file does not have."""

    conv_base: str
    size: str
    precision: str
    problem: str
    random_weights = False

    @property
    def name(self) -> str:
        """What stands in place of the name of a store."""
        return f"{self.conv_base}-{self.size}-{self.precision}"


AnyCandidate = Candidate | JoinedCandidate | RefusedSpec


def join_best(ranked: Sequence[Candidate]) -> list[JoinedCandidate]:
    """Pair the best candidate of each network with that of each other one; `ranked` has the best first."""
    best: dict[str, Candidate] = {}
    for candidate in ranked:
        best.setdefault(canonical_json([candidate.spec.conv_base, candidate.spec.conv_base_args]), candidate)
    return [JoinedCandidate(pair) for pair in combinations(best.values(), 2)]


def make_candidates(specs: Iterable[ConvBaseSpec | RefusedSpec]) -> list[Candidate | RefusedSpec]:
    """Name the specs; equal ones count once, and the precision `auto`, which is none to compare, becomes float32."""
    candidates: dict[str, Candidate | RefusedSpec] = {}
    for spec in specs:
        if isinstance(spec, RefusedSpec):
            candidates.setdefault(spec.name, spec)
            continue
        settled = replace(spec, precision="float32") if spec.precision == "auto" else spec
        name = name_of(settled)
        candidates.setdefault(name, Candidate(name, settled))
    return list(candidates.values())


def name_of(spec: ConvBaseSpec) -> str:
    """Return the name of the store of a spec, such as `mobilenet_v2-alpha=0.35-224-int8`.

    It ends in digits of a hash where it does not show every setting, as that of a file of weights.
    """
    height, width = spec.height_width
    words = [
        spec.name,
        *(f"{key}={json.dumps(value).strip(chr(34))}" for key, value in sorted(spec.conv_base_args.items())),
        str(height) if height == width else f"{height}x{width}",
        spec.precision,
        *(["random"] if spec.weights == "random" else []),
    ]
    plain = [re.sub(r"[^a-z0-9_.=]", "_", word) for word in words]
    if plain != words or spec.is_path or hidden_settings(spec):
        plain.append(sha256_of(canonical_json(_identity(spec)).encode())[:HASH_DIGITS])
    return "-".join(plain)


def hidden_settings(spec: ConvBaseSpec) -> dict[str, Any]:
    """Return the settings that differ from their defaults and that the name of a store does not show."""
    settings = {field.name: field.default for field in fields(spec) if field.name not in IN_NAME}
    changed = {name: getattr(spec, name) for name, default in settings.items() if getattr(spec, name) != default}
    if changed.get("weights") == "random":
        del changed["weights"]
    return changed


def _identity(spec: ConvBaseSpec) -> dict[str, Any]:
    """Return everything that tells two specs apart; files by their content, so that they can be moved."""
    weights, path = spec.weights, Path(spec.weights)
    if weights not in WEIGHTS_WORDS:
        weights = sha256_of_file(path) if path.is_file() else str(path.absolute())
    return {
        **{name: str(value) for name, value in hidden_settings(spec).items()},
        "conv_base": _content(spec) if spec.is_path else spec.conv_base,
        "conv_base_args": dict(spec.conv_base_args),
        "size": list(spec.height_width),
        "precision": spec.precision,
        "weights": weights,
    }


def _content(spec: ConvBaseSpec) -> str:
    """Return the sha256 of the files of a conv base, its absolute path if they cannot be loaded anyway."""
    with contextlib.suppress(SpecError, FileNotFoundError):
        if sha256 := hash_files(spec):
            return sha256
    return str(Path(spec.conv_base).absolute())
