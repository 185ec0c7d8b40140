"""What the value of an option may be: a text becomes a value or an error of argparse."""

from __future__ import annotations

import argparse
import json
from typing import Any


def key_value(text: str) -> tuple[str, Any]:
    """Read `KEY=VALUE`; the value is a JSON value or Python's True, False or None, anything else is a string."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key.strip(), json.loads(value)
    except ValueError:
        return key.strip(), {"True": True, "False": False, "None": None}.get(value, value)


def head_key_value(text: str) -> tuple[str, str, Any]:
    """Read `HEAD.KEY=VALUE`."""
    key, value = key_value(text)
    head, dot, name = key.partition(".")
    if not (head and dot and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEAD.KEY=VALUE")
    return head, name, value


def size(text: str) -> int | tuple[int, int]:
    """Read a number of pixels, or `HEIGHTxWIDTH`."""
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels, nor HEIGHTxWIDTH")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def fraction(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction from 0 to 1")
    return value


def count(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def counts(text: str) -> tuple[int, ...]:
    """Read whole numbers separated by commas."""
    return tuple(count(part.strip()) for part in text.split(",") if part.strip())


def names(text: str) -> list[str]:
    """Read names separated by commas; a repeated name counts once."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("no names")
    return list(dict.fromkeys(names))


# Keyword arguments of `add_argument`
COUNT: dict[str, Any] = {"type": count, "metavar": "N"}
FRACTION: dict[str, Any] = {"type": fraction, "metavar": "F"}
NUMBER: dict[str, Any] = {"type": float, "metavar": "F"}
SETTINGS: dict[str, Any] = {"type": key_value, "metavar": "KEY=VALUE", "action": "append", "default": []}
