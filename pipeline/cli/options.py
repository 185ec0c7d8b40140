"""Options of `features`."""

from __future__ import annotations

import argparse

from pipeline import defaults
from pipeline.cli.arguments.option_types import count, fraction, key_value, size
from pipeline.conv_base.spec import PRECISIONS, PREPROCESSINGS, STORE_DTYPES, ConvBaseSpec
from pipeline.images.resize import RESIZES


def features(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "images",
        metavar="IMAGES",
        help="folder of class folders (also below train/, validation/, "
        "test/), flat folder of cat.17.jpg, or CSV file with path,label[,split,group]",
    )
    verb.add_argument("--cache", required=True, metavar="DIR", help="the store; made if it does not exist")

    base = verb.add_argument_group("conv base")
    base.add_argument(
        "--conv-base",
        default=ConvBaseSpec.conv_base,
        metavar="NAME",
        help="a model of keras.applications in snake case, or a .keras file",
    )
    base.add_argument(
        "--conv-base-arg",
        action="append",
        type=key_value,
        default=[],
        metavar="KEY=VALUE",
        help="argument of the conv base itself, such as alpha=0.35; may be given again",
    )
    base.add_argument(
        "--weights", default=ConvBaseSpec.weights, metavar="{imagenet,random,FILE}", help="a .keras file brings its own"
    )
    base.add_argument(
        "--allow-random-weights",
        action="store_true",
        help="go on with random weights where the ImageNet weights cannot be downloaded; "
        "for trying the pipeline, not for results",
    )
    base.add_argument("--size", type=size, default=ConvBaseSpec.size, metavar="N|HxW", help="input size in pixels")
    base.add_argument(
        "--cut",
        metavar="LAYER|topN",
        help="layer whose output is kept (default: the last one); top1 keeps the input of the uppermost block, "
        "for `finetune`, top2 that of the one below",
    )
    base.add_argument(
        "--preprocessing",
        choices=PREPROCESSINGS,
        default=ConvBaseSpec.preprocessing,
        help="own: the conv base's preprocess_input; rescale: divide by 255; tf, torch, caffe: the modes "
        "of Keras; none: RGB in 0..255",
    )
    base.add_argument(
        "--resize", choices=RESIZES, default=ConvBaseSpec.resize, help="how images are brought to the input size"
    )
    base.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=ConvBaseSpec.precision,
        help="what the conv base computes in; auto measures once, when the store is made",
    )

    store = verb.add_argument_group("store")
    store.add_argument(
        "--store-dtype", choices=STORE_DTYPES, default=ConvBaseSpec.store_dtype, help="what features are kept in"
    )
    store.add_argument("--compression", choices=("none", "gzip"), default="none", help="of a new store")
    store.add_argument("--rebuild", action="store_true", help="drop what the store holds and compute all of it again")

    images = verb.add_argument_group("images")
    images.add_argument(
        "--validation",
        type=fraction,
        default=defaults.VALIDATION,
        metavar="F",
        help="fraction for validation where no split is given",
    )
    images.add_argument("--test", type=fraction, default=defaults.TEST, metavar="F", help="fraction for testing")
    images.add_argument(
        "--max-bad",
        type=fraction,
        default=defaults.MAX_BAD,
        metavar="F",
        help="largest fraction of images that may be unusable before the exit status is 1",
    )

    views = verb.add_argument_group("augmented views of the train images")
    views.add_argument(
        "--views",
        type=count,
        metavar="K",
        help="views of each train image to keep: the image itself and K - 1 augmented copies; those above K are "
        "deleted, 1 deletes all (default: those there are, brought up to date)",
    )
    views.add_argument(
        "--augment",
        action="append",
        type=key_value,
        default=[],
        metavar="KEY=VALUE",
        help="how far copies may differ: rotation=40 and shear=11.5 in degrees, width_shift=0.2, height_shift=0.2, "
        "zoom=0.2, brightness=0 as fractions, horizontal_flip=true; may be given again (default: the values shown, "
        "or those of the views there are)",
    )
    views.add_argument("--augment-seed", type=int, metavar="N", help="another seed, other copies (default: 0)")

    batches(verb)


def batches(verb: argparse.ArgumentParser) -> None:
    speed = verb.add_argument_group("speed")
    speed.add_argument(
        "--batch-size",
        type=count,
        default=defaults.EXTRACT_BATCH,
        metavar="N",
        help="images a forward pass; changes no value",
    )
    speed.add_argument("--workers", type=count, metavar="N", help="threads that decode (default: one a core)")
