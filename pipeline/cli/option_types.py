"""What the value of an option may be: a text becomes a value or an error of argparse."""

import argparse
import contextlib
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
    with contextlib.suppress(ValueError):
        height, *width = (int(side) for side in text.lower().split("x"))
        if len(width) <= 1 and min([height, *width]) >= 1:
            return (height, width[0]) if width else height
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels, nor HEIGHTxWIDTH")


def fraction(text: str) -> float:
    """Read a number from 0 to 1."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a fraction from 0 to 1")


def count(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def positive(text: str) -> float:
    """Read a number above 0."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


def duration(text: str) -> float:
    """Read a time in seconds, with `s`, `m` or `h` behind the number if given."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m", "h") else (text, "s")
    with contextlib.suppress(ValueError):
        if 0 < float(number) < float("inf"):
            return float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 30m or 2h")


def part(text: str) -> tuple[int, int]:
    """Read `I/N`, a part from 1 to N."""
    number, _, parts = text.partition("/")
    with contextlib.suppress(argparse.ArgumentTypeError):
        if count(number) <= count(parts):
            return int(number), int(parts)
    raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")


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
POSITIVE: dict[str, Any] = {"type": positive, "metavar": "F"}
SETTINGS: dict[str, Any] = {"type": key_value, "metavar": "KEY=VALUE", "action": "append", "default": []}
_text = "stop after N epochs without a lower loss on a held-out tenth of the train images; keep the best weights"
PATIENCE: dict[str, Any] = {**COUNT, "help": _text}
