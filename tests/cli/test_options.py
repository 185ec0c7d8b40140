"""Options that come from the fields of `ConvBaseSpec`, and the values that options accept."""

import argparse

import pytest

from pipeline import ConvBaseSpec
from pipeline.cli import option_types
from pipeline.cli.shared_options import add_spec_options, spec_from_options


def spec_of(words: list[str], **other_defaults) -> ConvBaseSpec:
    parser = argparse.ArgumentParser()
    add_spec_options(parser, **other_defaults)
    return spec_from_options(parser.parse_args(words))


def test_without_options_the_spec_has_its_defaults():
    assert spec_of([]) == ConvBaseSpec()
    assert spec_of([], size=224, cut="top1") == ConvBaseSpec(size=224, cut="top1")


def test_every_option_sets_its_field():
    words = "--conv-base mobilenet_v2 --conv-base-arg alpha=0.35 --conv-base-arg include_top=false --weights random"
    words += (
        " --size 96x128 --cut top2 --preprocessing tf --resize antialias --decode scaled --precision bfloat16 "
        "--store-dtype float32"
    )
    assert spec_of(words.split()) == ConvBaseSpec(
        conv_base="mobilenet_v2",
        conv_base_args={"alpha": 0.35, "include_top": False},
        weights="random",
        size=(96, 128),
        cut="top2",
        preprocessing="tf",
        resize="antialias",
        decode="scaled",
        precision="bfloat16",
        store_dtype="float32",
    )


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        ("key_value", "seed=3", ("seed", 3)),
        ("key_value", "flip=True", ("flip", True)),
        ("key_value", "sizes=[1, 2]", ("sizes", [1, 2])),
        ("key_value", "name=a=b", ("name", "a=b")),
        ("head_key_value", "logistic.C=0.1", ("logistic", "C", 0.1)),
        ("size", "150", 150),
        ("size", "96X128", (96, 128)),
        ("fraction", "0.25", 0.25),
        ("counts", "50, 25", (50, 25)),
        ("names", "dense, ridge,dense", ["dense", "ridge"]),
    ],
)
def test_a_value_is_read(read, text, value):
    assert getattr(option_types, read)(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        ("key_value", "seed"),
        ("key_value", "=3"),
        ("head_key_value", "C=0.1"),
        ("size", "0"),
        ("size", "1x2x3"),
        ("fraction", "1.1"),
        ("fraction", "nan"),
        ("count", "0"),
        ("count", "²"),
        ("counts", "50,x"),
        ("names", " , "),
    ],
)
def test_a_wrong_value_is_an_error(read, text):
    with pytest.raises(argparse.ArgumentTypeError):
        getattr(option_types, read)(text)
