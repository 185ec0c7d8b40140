"""The fingerprint of a spec, and the fields in which two specs differ."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.files.durable import canonical_json, sha256_of

# Fields that `ConvBaseSpec.identity` omits where they have these values, so that the fingerprints of stores that
# were made before there was such a field have not changed.
OMITTED: Mapping[str, Any] = {"view": None, "decode": "exact"}


class Difference(NamedTuple):
    """A field in which two specs differ."""

    field: str
    stored: object
    asked: object

    def __str__(self) -> str:
        return f"{self.field}: {_shorten(self.stored)} in the store, {_shorten(self.asked)} asked for"


def hash_identity(identity: Mapping[str, Any]) -> str:
    """Return the fingerprint: the sha256 of a value of `ConvBaseSpec.identity`, 64 hexadecimal digits."""
    return sha256_of(canonical_json(identity).encode())


def compare(stored: Mapping[str, Any], asked: Mapping[str, Any], *, settled: bool = True) -> list[Difference]:
    """Return the fields in which two values of `ConvBaseSpec.identity` differ.

    The settings of two views are compared one by one, under names such as `view.seed`. If not `settled`, None
    in `asked` means that a value is not known yet, and such fields are not compared. Neither is `cut` then,
    since only the loaded conv base shows whether a layer is the last one.
    """
    if stored.get("view") and asked.get("view"):
        stored, asked = _flatten_view(stored), _flatten_view(asked)
    names = {**asked, **stored}
    known = [name for name in names if settled or name in OMITTED or (name != "cut" and asked.get(name) is not None)]
    missing = object()
    return [
        Difference(name, stored.get(name, OMITTED.get(name)), asked.get(name, OMITTED.get(name)))
        for name in known
        if stored.get(name, OMITTED.get(name, missing)) != asked.get(name, OMITTED.get(name, missing))
    ]


def _flatten_view(identity: Mapping[str, Any]) -> dict[str, Any]:
    settings = {f"view.{name}": value for name, value in identity["view"].items()}
    return {**{name: value for name, value in identity.items() if name != "view"}, **settings}


def _shorten(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
