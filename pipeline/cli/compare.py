"""Compare conv bases on the images: accuracy, speed and size of each, and which one to take."""

import argparse
import shlex
from pathlib import Path

from pipeline import defaults
from pipeline.cli import console
from pipeline.cli.option_types import COUNT, POSITIVE, duration, names
from pipeline.cli.shared_options import add_images_argument, add_split_options, select_options
from pipeline.text import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `compare`."""
    from pipeline.cli.spec_product import add_product_options

    add_images_argument(parser)
    text = "directory of the comparison; each spec gets a store below it"
    parser.add_argument("--cache", required=True, metavar="DIR", help=text)
    add_product_options(parser.add_argument_group("conv bases; each is compared in each size and precision"))
    images = parser.add_argument_group("images")
    text = "train images of each class in the first step; of the validation images it takes the same share"
    images.add_argument("--per-class", **COUNT, default=defaults.COMPARED_PER_CLASS, help=text)
    text = (
        "go on with the better half, and with what is not measurably worse than the best, on four times as many "
        "images, until all are used"
    )
    images.add_argument("--full", action="store_true", help=text)
    add_split_options(images)
    text = "heads to train on each store; the best one on the validation images counts"
    images.add_argument("--heads", type=names, default="logistic", metavar="NAME,NAME", help=text)
    text = (
        "compare the features of two conv bases side by side, too: of each pair of networks, each in its best size and "
        "precision"
    )
    images.add_argument("--joined", action="store_true", help=text)
    limits = parser.add_argument_group("limits of what is recommended")
    text = "time of stage one on all images, such as 90s, 30m or 2h; also bounds the time of what this command starts"
    limits.add_argument("--budget", type=duration, metavar="TIME", help=text)
    limits.add_argument("--max-ms", **POSITIVE, help="milliseconds of an image on this machine")
    limits.add_argument("--max-mb", **POSITIVE, help="megabytes of the exported model")


def run(options: argparse.Namespace) -> int:
    """Compare, and show the table, the advice and how to go on; return 1 if a spec could not be compared."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.cli.display.comparison_table import print_comparison
    from pipeline.cli.display.words import print_classes
    from pipeline.cli.spec_product import check_conv_bases_exist, features_command, specs_from_options
    from pipeline.comparison import Budgets, compare_conv_bases
    from pipeline.comparison.candidate import Candidate, make_candidates
    from pipeline.images.scan import scan_images
    from pipeline.report import write_comparison
    from pipeline.text import COMMAND

    console.start_tensorflow_quietly()
    check_conv_bases_exist(options.conv_base)
    specs = specs_from_options(options)
    with ConsoleCallbacks() as callbacks:
        images = scan_images(
            options.images,
            **select_options(options, "validation", "test"),
            on_read=lambda done, total: callbacks.progress("reading", done, total, "files"),
        )
        console.say(f"images     {len(images)} in {options.images}")
        print_classes(images)
        comparison = compare_conv_bases(
            images,
            specs,
            options.cache,
            **select_options(options, "per_class", "full", "heads", "joined"),
            budgets=Budgets(options.budget, options.max_ms, options.max_mb),
            callbacks=callbacks,
        )
    print_comparison(comparison)
    write_comparison(comparison)
    console.say(f"a page to look at: {Path(options.cache) / 'comparison.html'}")
    failed = [row for row in comparison.rows if row.problem]
    if (row := comparison.recommended) is not None:
        store, parts = Path(options.cache, row.name), row.name.split("+")  # two if the store is joined
        console.say(f"to go on with {row.label}, whose store is {store}:")
        for candidate in make_candidates(specs):
            if isinstance(candidate, Candidate) and candidate.name in parts and row.measured_seconds is None:
                command = features_command(options, candidate.spec, Path(options.cache, candidate.name))
                console.say(f"  {command}")
        console.say(f"  {COMMAND} heads {shlex.quote(str(store))}")
    if failed:
        console.warn(f"{counted(len(failed), 'spec')} could not be compared; the reasons are listed above")
    return 1 if failed else 0
