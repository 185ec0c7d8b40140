"""The command line of the torture tests: run the parts in order and print one table."""

import argparse
import json
import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from pipeline import ImagesError, ImageTable, scan_images
from pipeline.images.sample import write_sample

from . import bad_images, children, crash_states, disk_errors, durability, flips, kills, power_cuts, specs, stand_ins
from .oracle import Sample, features_of, fill_reference
from .results import Result, table


@dataclass
class Torture:
    """The parts by letter, and what they need.

    Attributes
    ----------
    whole, few : Sample
        All drawn images; fewer images, which fill one shard or one and a half.
    """

    NAMES: ClassVar[Sequence[str]] = (
        *("a kills", "b disks", "c bits", "d specs"),
        *("e images", "f syncs", "g crash states", "h cuts"),
    )
    work: Path
    options: argparse.Namespace
    whole: Sample
    few: Sample

    def a(self) -> Iterator[Result]:
        """Kill stage one."""
        yield kills.kill_at_every_step(self.few, self.work)
        yield kills.kill_at_random(self.whole, self.work, self.options.kills, self.options.seed)

    def b(self) -> Iterator[Result]:
        """Let the disk fail."""
        yield disk_errors.inject_errors(self.whole, self.work, self.options.operations, 1 if self.options.quick else 3)
        yield disk_errors.starve(self.whole, self.work)

    def c(self) -> Iterator[Result]:
        """Flip bits of a store."""
        yield flips.flip_bits(self.whole, self.work, self.options.flips, self.options.seed)

    def d(self) -> Iterator[Result]:
        """Change each field of the spec."""
        yield specs.change_every_field(self.few, self.work)

    def e(self) -> Iterator[Result]:
        """Put bad images among good ones."""
        yield bad_images.send_bad_images(self.few, self.work, 5 if self.options.quick else 1)

    def f(self) -> Iterator[Result]:
        """Measure the cost of the syncs."""
        yield durability.measure_syncs(self.whole.images, self.work, self.options.durability_with_vgg16)

    def g(self) -> Iterator[Result]:
        """Cut the power, in a model of file systems."""
        states = self.options.states // (10 if self.options.quick else 1)
        kills = not self.options.quick
        yield crash_states.examine_states(self.few, self.work, states, self.options.seed, kills)

    def h(self) -> Iterator[Result]:
        """Cut the power of real file systems."""
        yield power_cuts.cut_power(self.few, self.work, self.options.cuts, self.options.seed)


def main(arguments: Sequence[str] | None = None, kind: type[Torture] = Torture) -> int:
    """Run the parts and print the table; return 1 if a promise is broken, 2 if the images cannot be used."""
    options = _parser(kind.NAMES).parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    stand_ins.put_in_place(options.rows_per_shard, options.precision)
    with children.Workspace() as work:
        try:
            torture = kind(work, options, *_samples(options, work))
        except ImagesError as error:
            print(f"torture: {error}; draw more with --n", file=sys.stderr)
            return 2
        print(f"{torture.whole.rows} rows in {len(torture.whole.whole)} shards", flush=True)
        results = [result for part in options.parts for result in getattr(torture, part)()]
    print(table(results))
    if options.json:
        document = {
            "seed": options.seed,
            "images": torture.whole.rows,
            "parts": [result.to_json() for result in results],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(result.broken for result in results))


def _samples(options: argparse.Namespace, work: Path) -> tuple[Sample, Sample]:
    source = options.images
    if source is None:
        source = work / "digits"
        write_sample(source)
    images = scan_images(source)
    order = list(range(len(images)))
    random.Random(options.seed).shuffle(order)
    of_two_classes = [i for i in order if images.labels[i] < 2]  # so that no class has a single image
    whole = _copy_images(images, order, options.n, work / "whole")
    few_rows = options.rows_per_shard * (2 if options.quick else 3) // 2
    few = _copy_images(images, of_two_classes, few_rows, work / "few")
    return fill_reference(whole, work), fill_reference(few, work)


def _copy_images(images: ImageTable, order: Sequence[int], n: int, folder: Path) -> Sample:
    """Copy the first `n` usable images of this order; bad images have a part of their own."""
    copied = 0
    for i in order:
        path = Path(images.paths[i])
        if copied < n and images.readable[i] and features_of(path) is not None:
            copy = folder / images.classes[images.labels[i]] / f"{copied:06d}{path.suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copied += 1
    return Sample.of(folder)


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.torture", description="Try to break the pipeline.")
    add = parser.add_argument
    add("--images", type=Path, metavar="FOLDER", help="labelled images (default: the built-in digits)")
    add("--n", type=int, default=300, help="images drawn from them (%(default)s)")
    letters = "".join(name[0] for name in names)
    add("--parts", type=partial(_parts, letters), default=letters, help=f"{', '.join(names)} (all)")
    add("--kills", type=int, default=200, help="random kills that hit a run (%(default)s)")
    add("--operations", type=int, default=50, help="file operations that fail, the first so many (%(default)s)")
    add("--flips", type=int, default=1000, help="bits flipped (%(default)s)")
    add("--states", type=int, default=2000, help="distinct states of files after a power cut (%(default)s)")
    add("--cuts", type=int, default=200, help="power cuts that hit a run on a real file system (%(default)s)")
    add(
        "--quick",
        action="store_true",
        help="one error an operation, steps of one shard, every fifth bad image, a tenth of states",
    )
    add(
        "--rows-per-shard", type=int, default=64, help="a small number gives several shards of few images (%(default)s)"
    )
    add("--precision", choices=("auto", "int8"), default="auto", help="of the stores (%(default)s)")
    add("--durability-with-vgg16", action="store_true", help="time the syncs against VGG16 with random weights")
    add("--seed", type=int, default=0, help="seed of all random choices (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the table as JSON too")
    return parser


def _parts(known: str, text: str) -> str:
    letters = text.replace(",", "")
    if not letters or set(letters) - set(known):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of {', '.join(known)}")
    return letters


if __name__ == "__main__":
    sys.exit(main())
