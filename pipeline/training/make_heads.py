"""Make the heads of one call from their names and parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import HeadError
from pipeline.heads import head_class, head_names, make_head

Params = Mapping[str, Mapping[str, Any]]  # parameters by the name of the head


def make_heads(names: Sequence[str] | None, params: Params | None) -> dict[str, Any]:
    """Make untrained heads by their names, all of `head_names()` if none are given; unknown ones raise HeadError."""
    names, params = names or head_names(), params or {}
    for name in params:
        if name not in names:
            head_class(name)  # raises HeadError with the closest names if there is no such head
            raise HeadError(
                f"parameters are given for {name!r}, which is not among the heads to train ({', '.join(names)}); "
                "add it to them, or leave its parameters out"
            )
    return {name: make_head(name, **params.get(name, {})) for name in names}
