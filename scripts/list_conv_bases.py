"""Print a Markdown table of all conv bases with a name: shape of the features, number of parameters.

    python scripts/list_conv_bases.py [SIZE]

The script builds each model without its weights, which takes a few minutes and 3 GB of memory in all.
"""

import argparse

from pipeline.cli.exit import one_line_errors
from pipeline.conv_base.keras_setup import run_isolated
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.conv_base.zoo import build, conv_base_names, find_zoo_model, has_imagenet_weights
from pipeline.errors import SpecError


def format_row(name: str, size: int) -> str:
    """Return the row of a conv base: `-` and the smallest possible size if `size` is too small.

    A star marks a conv base without ImageNet weights.
    """
    mark = "" if has_imagenet_weights(name) else " \\*"
    try:
        model = run_isolated(build, find_zoo_model(name), ConvBaseSpec(name, size=size))
    except SpecError as error:
        return f"| `{name}`{mark} | - ({error}) | |"
    shape = ", ".join(map(str, model.output_shape[1:]))
    return f"| `{name}`{mark} | ({shape}) | {model.count_params():,} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="List the conv bases with a name as a Markdown table.")
    parser.add_argument("size", nargs="?", type=int, default=150, help="height and width of the images (%(default)s)")
    size = parser.parse_args().size
    print(f"| conv base | features at {size}x{size} | parameters |")
    print("|---|---|---|")
    for name in conv_base_names():
        print(format_row(name, size), flush=True)
    print("\n\\* without ImageNet weights")


if __name__ == "__main__":
    with one_line_errors("list_conv_bases"):
        main()
