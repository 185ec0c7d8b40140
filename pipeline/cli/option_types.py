"""What an option may be: text in, a value or an argparse error out."""

from __future__ import annotations

import argparse
import json
from typing import Any


def key_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key.strip(), _value(value)


def head_key_value(text: str) -> tuple[str, str, Any]:
    key, value = key_value(text)
    head, dot, name = key.partition(".")
    if not (head and dot and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEAD.KEY=VALUE")
    return head, name, value


def _value(text: str) -> Any:
    """A number, true, false, null, a quoted string or a list as JSON has it; anything else is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def size(text: str) -> int | tuple[int, int]:
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels, nor HEIGHTxWIDTH")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction from 0 to 1")
    return value


def count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def units(text: str) -> tuple[int, ...]:
    return tuple(count(part.strip()) for part in text.split(",") if part.strip())


def names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("no names")
    return list(dict.fromkeys(names))
