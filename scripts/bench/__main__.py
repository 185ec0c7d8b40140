"""The command line of the bench: each part in turn, then the table, the JSON and the picture."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.errors import PipelineError
from pipeline.files.durable import make_directory, write_durably

from . import cold, growth, heads, limit, reading, ways
from .machine import describe_machine, in_a_line
from .measuring import ChildFailed, in_child, say
from .photos import draw_photos, make_photos
from .plot import save_plot
from .results import Figure, table
from .sizes import Sizes
from .whole_job import PHOTOS, RESTS_ON, put_together

Measure = Callable[[Sizes, Path, Path], list[Figure]]
PARTS: dict[str, tuple[str, Measure]] = {
    "limit": ("the limit, and stage one against it", limit.measure),
    "ways": ("the whole job on a subset", ways.measure),
    "heads": ("heads", heads.measure),
    "reading": ("reading", reading.measure),
    "growth": ("growth, with a conv base that costs next to nothing", growth.measure),
    "cold": ("cold start", cold.measure),
}
APART = frozenset(RESTS_ON)  # in a process of its own; the others start a small process for each thing they measure
WHOLE = f"the whole job on {PHOTOS:,} photos, from measured rates"
WIDE = 180  # characters, where nobody's window sets a limit


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and show what was found; returns the exit status."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return _run(options, Sizes.scaled(options.scale))
    except (PipelineError, ChildFailed) as error:
        say(f"bench: {error}")
        return 2 if isinstance(error, PipelineError) else 1
    except KeyboardInterrupt:
        say("bench: interrupted; nothing was written")
        return 130


def _run(options: argparse.Namespace, sizes: Sizes) -> int:
    start = time.monotonic()
    machine = describe_machine()
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        photos, described = _photos(options, sizes, Path(temporary))
        if described:
            sizes = replace(sizes, precisions=in_child(limit.precisions, sizes.side))
        figures: list[Figure] = []
        for name in options.parts:
            began = time.monotonic()
            figures += measure_part(name, sizes, photos, Path(temporary) / name)
            seconds[name] = round(time.monotonic() - began, 1)
            say(f"{name}: {seconds[name]:.0f} s")
    figures += put_together(sizes, figures)
    about = {"machine": machine, "photos": described, "scale": options.scale, "seconds": seconds}
    _write(options.json, {**about, "figures": [one.to_json() for one in figures]})
    _show(figures, about)
    if options.plot and save_plot(options.plot, figures, machine):
        say(f"picture: {options.plot}")
    say(f"measured in {time.monotonic() - start:.0f} s; all of it as JSON: {options.json}")
    return 0


def measure_part(name: str, sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """The figures of one part, which finds a folder of its own in place."""
    say(f"{name}: {PARTS[name][0]}")
    work.mkdir()
    measure = PARTS[name][1]
    figures = in_child(measure, sizes, photos, work) if name in APART else measure(sizes, photos, work)
    shutil.rmtree(work)
    return figures


def _photos(options: argparse.Namespace, sizes: Sizes, work: Path) -> tuple[Path, str]:
    folder = work / "photos"
    if not {"limit", "ways"} & set(options.parts):
        return folder, ""
    say("making photos" if options.data is None else f"drawing photos from {options.data}")
    if options.data is None:
        return folder, make_photos(folder, sizes.photos)
    return folder, draw_photos(options.data, folder, sizes.photos)


def _show(figures: Sequence[Figure], about: dict[str, Any]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    console.print(table(figures, {**{name: heading for name, (heading, _) in PARTS.items()}, "whole": WHOLE}))
    console.print()
    console.print(in_a_line(about["machine"]))
    on = f"{about['photos']}; VGG16 with random weights; " if about["photos"] else ""
    console.print(f"{on}medians of what was measured in turn")


def _write(path: Path, document: dict[str, Any]) -> None:
    make_directory(path.parent)
    write_durably(path, (json.dumps(document, indent=1) + "\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description="Measure the pipeline.")
    add = parser.add_argument
    add("--scale", type=_scale, default=1.0, help="times the default sizes; 1 takes less than ten minutes on two cores")
    add("--data", type=Path, metavar="FOLDER", help="your own photos (default: synthetic ones)")
    add("--parts", type=_parts, default=list(PARTS), help=f"some of {','.join(PARTS)} (default: all)")
    add("--json", type=Path, metavar="FILE", default=Path("cache/bench.json"), help="all figures (%(default)s)")
    add("--plot", type=Path, metavar="FILE", help="draw the main comparison as PNG")
    return parser


def _scale(text: str) -> float:
    scale = float(text)
    if not 0.01 <= scale <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 100")
    return scale


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is no part; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in parts]


if __name__ == "__main__":
    sys.exit(main())
