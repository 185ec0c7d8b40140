"""The command line of the bench: measure all parts, then write the table, the JSON file and the picture."""

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

from . import (
    cold,
    coordination,
    decoding,
    growth,
    heads,
    int8,
    limit,
    many_images,
    pooled,
    reading,
    two_processes,
    ways,
)
from .machine import describe_machine, summarize_machine
from .measuring import ChildFailed, in_child, say
from .photos import draw_photos, make_photos
from .plot import save_plot
from .results import Figure, make_table
from .sizes import Sizes
from .whole_job import PHOTOS, REQUIRED_PARTS, estimate_whole_job

Measure = Callable[[Sizes, Path, Path], list[Figure]]
PARTS: dict[str, tuple[str, Measure]] = {
    "limit": ("the limit, and stage one against it", limit.measure),
    "mobilenet": (
        "MobileNetV2 of width 0.35 at 224x224 in int8, where the conv base takes the smaller part of the time",
        int8.measure_mobilenet,
    ),
    "decoding": ("decoding photos of 12 megapixels, one core", decoding.measure),
    "ways": ("the whole job on a subset", ways.measure),
    "heads": ("heads", heads.measure),
    "pooled": ("the six scikit-learn heads on pooled features", pooled.measure),
    "reading": ("reading", reading.measure),
    "growth": ("growth, with a conv base that costs next to nothing", growth.measure),
    "plan": ("scan, plan and index of many images; the files are simulated", many_images.measure),
    "cold": ("cold start", cold.measure),
    "coordination": ("coordination of many workers, whose conv base sleeps", coordination.measure),
    "two_processes": ("stage one in two processes, with real photos", two_processes.measure),
}
DASK_PARTS = ("coordination", "two_processes")  # not measured unless asked for
ISOLATED = frozenset(
    (*REQUIRED_PARTS, "decoding", "mobilenet")
)  # run in a child process; the other parts start a child for each measurement
WHOLE = f"the whole job on {PHOTOS:,} photos, from measured rates"
WIDTH = 180  # characters of the table if the output is no terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; returns the exit status."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sizes = Sizes.scaled(options.scale)
        return _run(options, replace(sizes, planned=options.images or sizes.planned))
    except (PipelineError, ChildFailed) as error:
        say(f"bench: {error}")
        return 2 if isinstance(error, PipelineError) else 1
    except KeyboardInterrupt:
        say("bench: interrupted; no file was written")
        return 130


def _run(options: argparse.Namespace, sizes: Sizes) -> int:
    start = time.monotonic()
    machine = describe_machine()
    seconds_by_part: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        photos, description = _prepare_photos(options, sizes, Path(temporary))
        if description:
            sizes = replace(sizes, precisions=in_child(limit.list_precisions, sizes.side))
        figures: list[Figure] = []
        for name in options.parts:
            part_start = time.monotonic()
            figures += measure_part(name, sizes, photos, Path(temporary) / name)
            seconds_by_part[name] = round(time.monotonic() - part_start, 1)
            say(f"{name}: {seconds_by_part[name]:.0f} s")
    figures += estimate_whole_job(sizes, figures)
    about = {"machine": machine, "photos": description, "scale": options.scale, "seconds": seconds_by_part}
    _write_json(options.json, {**about, "figures": [figure.to_json() for figure in figures]})
    _print_table(figures, about)
    if options.plot and save_plot(options.plot, figures, machine):
        say(f"picture: {options.plot}")
    say(f"measured in {time.monotonic() - start:.0f} s; all figures as JSON: {options.json}")
    return 0


def measure_part(name: str, sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure the figures of one part in a working folder, which is deleted afterwards."""
    say(f"{name}: {PARTS[name][0]}")
    work.mkdir()
    measure = PARTS[name][1]
    figures = in_child(measure, sizes, photos, work) if name in ISOLATED else measure(sizes, photos, work)
    shutil.rmtree(work)
    return figures


def _prepare_photos(options: argparse.Namespace, sizes: Sizes, work: Path) -> tuple[Path, str]:
    folder = work / "photos"
    if not {"limit", "mobilenet", "decoding", "ways"} & set(options.parts):
        return options.data or folder, ""
    say("making photos" if options.data is None else f"drawing photos from {options.data}")
    if options.data is None:
        return folder, make_photos(folder, sizes.photos)
    return folder, draw_photos(options.data, folder, sizes.photos)


def _print_table(figures: Sequence[Figure], about: dict[str, Any]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(make_table(figures, {**{name: heading for name, (heading, _) in PARTS.items()}, "whole": WHOLE}))
    console.print()
    console.print(summarize_machine(about["machine"]))
    images = f"{about['photos']}; VGG16 with random weights; " if about["photos"] else ""
    console.print(f"{images}medians; things that are compared were measured alternately")


def _write_json(path: Path, document: dict[str, Any]) -> None:
    make_directory(path.parent)
    write_durably(path, (json.dumps(document, indent=1) + "\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description="Measure the pipeline.")
    add = parser.add_argument
    add(
        "--scale",
        type=_parse_scale,
        default=1.0,
        help="factor of the default sizes; 1 takes less than ten minutes on two cores",
    )
    add("--images", type=_parse_images, metavar="N", help="simulated images of the part plan (default: 1000000)")
    add("--data", type=Path, metavar="FOLDER", help="folder of your own photos (default: synthetic photos)")
    add(
        "--parts",
        type=_parse_parts,
        default=[name for name in PARTS if name not in DASK_PARTS],
        help=f"parts to measure, of {','.join(PARTS)} (default: all but {' and '.join(DASK_PARTS)})",
    )
    add(
        "--json",
        type=Path,
        metavar="FILE",
        default=Path("cache/bench.json"),
        help="file of all figures (default: %(default)s)",
    )
    add("--plot", type=Path, metavar="FILE", help="PNG file of the main comparison (default: none)")
    return parser


def _parse_scale(text: str) -> float:
    scale = float(text)
    if not 0.01 <= scale <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 100; give another scale")
    return scale


def _parse_images(text: str) -> int:
    n = int(text)
    if n < 2_000:
        raise argparse.ArgumentTypeError(f"{text} is less than 2,000; give more images")
    return n


def _parse_parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is no part; choose from {', '.join(PARTS)}")
    return [name for name in PARTS if name in parts]


if __name__ == "__main__":
    sys.exit(main())
