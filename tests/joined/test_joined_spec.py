"""The spec of a joined store, and rows found by many contents together."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline import ConvBaseSpec
from pipeline.conv_base.joined_conv_base import average_positions
from pipeline.conv_base.joined_spec import JoinedSpec
from pipeline.conv_base.precision import TOLERANCE, tolerance_of
from pipeline.store.index import NO_ROW
from pipeline.store.rows_by_content import RowsByContent
from tests.fakes import photo

SPEC = ConvBaseSpec(size=(6, 4), precision="float32", decoder="x", weights_sha256="1" * 64)


def joined(*changes):
    return JoinedSpec(tuple(replace(SPEC, **change) for change in changes))


@pytest.mark.parametrize(
    ("precisions", "least", "loosest"),
    [
        (("float32", "float16"), "float16", "float16"),
        (("bfloat16", "float16"), "bfloat16", "bfloat16"),
        (("bfloat16", "int8"), "int8", "bfloat16"),
        (("float32", "float32"), "float32", "float32"),
    ],
)
def test_the_precision_is_the_least_exact_one_and_the_tolerance_the_largest(precisions, least, loosest):
    spec = joined(*({"precision": precision} for precision in precisions))
    assert spec.precision == least and tolerance_of(spec) == TOLERANCE[loosest]


def test_the_identity_is_json_and_depends_on_all_parts():
    spec, other = joined({}, {"size": (8, 8)}), joined({}, {"size": (8, 9)})
    assert json.loads(json.dumps(spec.identity()))["joined"][1]["size"] == [8, 8]
    assert len({spec.fingerprint, other.fingerprint, SPEC.fingerprint}) == 3


def test_an_image_is_decoded_once_for_each_part():
    spec = joined({}, {"size": (8, 10), "resize": "antialias"})
    images = np.stack([spec.decode_image(photo(seed)) for seed in (1, 2)])
    assert images.shape == (2, *spec.pixel_shape) == (2, 6 * 4 * 3 + 8 * 10 * 3)
    for pixels, part in zip(spec.split_pixels(images), spec.parts, strict=True):
        assert np.array_equal(pixels, np.stack([part.decode_image(photo(seed)) for seed in (1, 2)]))


@pytest.mark.parametrize(("decodes", "sides"), [(("scaled", "exact"), (64, 48)), (("scaled", "scaled"), (32, 24))])
def test_a_model_takes_images_as_large_as_the_part_that_needs_the_largest(decodes, sides):
    spec = joined({"decode": decodes[0], "size": (9, 9)}, {"decode": decodes[1], "size": (4, 4)})
    assert spec.decode_upright(photo(1, size=(64, 48), format="JPEG")).shape[:2] == sides


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_features_of_any_rank_are_averaged_over_their_positions(shape):
    features = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float16)
    averages = average_positions(features)
    assert averages.dtype == np.float32 and averages.shape == (4, 5)
    assert np.allclose(averages, features.astype(np.float64).reshape(4, -1, 5).mean(axis=1), atol=1e-6)


def test_many_contents_are_found_as_each_alone():
    contents = np.random.default_rng(0).integers(0, 256, (50, 32), np.uint8)
    contents[7, :8] = contents[8, :8]  # as never happens with sha256
    find = RowsByContent(contents, np.arange(0, 50, 2))
    asked = np.concatenate([contents[::-1], np.zeros((1, 32), np.uint8), np.full((1, 32), 255, np.uint8)])
    expected = [find(content.tobytes()) for content in asked]
    assert find.find(asked).tolist() == expected and expected.count(NO_ROW) == 27
