"""The spec: which settings change the fingerprint, and how two specs are compared."""

from dataclasses import fields, replace

import pytest

from pipeline import ConvBaseSpec, SpecError
from pipeline.conv_base.fingerprint import compare
from pipeline.images.augment import Augmentation, View

RESOLVED = ConvBaseSpec(
    precision="float32", decoder="pillow-1", weights_sha256="a" * 64, conv_base_args={"alpha": 0.35}, size=224
)
OTHER = {
    "conv_base": "vgg19",
    "conv_base_args": {"alpha": 0.5},
    "size": 223,
    "cut": "block4_pool",
    "preprocessing": "rescale",
    "resize": "antialias",
    "decode": "scaled",
    "precision": "bfloat16",
    "store_dtype": "float32",
    "view": View(1),
    "decoder": "pillow-2",
    "conv_base_sha256": "c" * 64,
    "weights_sha256": "b" * 64,
}


@pytest.mark.parametrize("field", OTHER)
def test_fault_12_13_a_change_of_any_field_changes_the_fingerprint_and_is_reported(field):
    other = replace(RESOLVED, **{field: OTHER[field]})
    assert other.fingerprint != RESOLVED.fingerprint
    assert [difference.field for difference in compare(RESOLVED.identity(), other.identity())] == [field]


def test_every_field_except_the_path_of_the_weights_is_tested():
    assert {field.name for field in fields(ConvBaseSpec)} - {"weights", "int8_sha256"} == set(OTHER)


def test_another_quantised_conv_base_has_another_fingerprint():
    one, other = (replace(RESOLVED, precision="int8", int8_sha256=digit * 64) for digit in "12")
    assert one.fingerprint != other.fingerprint
    assert [difference.field for difference in compare(one.identity(), other.identity())] == ["int8_sha256"]
    assert compare(one.identity(), replace(one, int8_sha256=None).identity(), settled=False) == []
    assert not replace(one, int8_sha256=None).is_resolved


def test_the_path_of_the_weights_does_not_change_the_fingerprint():
    assert replace(RESOLVED, weights="other.h5").fingerprint == RESOLVED.fingerprint


def test_two_views_are_compared_setting_by_setting():
    one, other = (replace(RESOLVED, view=View(n, Augmentation(seed=n, zoom=0.1 * n))).identity() for n in (1, 2))
    named = {difference.field for difference in compare(one, other, settled=False)}
    assert named == {"view.number", "view.seed", "view.zoom"}


def test_a_missing_view_is_not_a_value_that_is_not_known_yet():
    view = replace(RESOLVED, view=View(1)).identity()
    assert [difference.field for difference in compare(view, ConvBaseSpec().identity(), settled=False)][-1:] == ["view"]


@pytest.mark.parametrize("settled", [True, False])
def test_a_spec_without_decode_is_an_exact_one_and_has_the_fingerprint_from_before_there_was_decode(settled):
    exact, scaled = RESOLVED.identity(), replace(RESOLVED, decode="scaled").identity()
    assert "decode" not in exact and scaled == {**exact, "decode": "scaled"}
    (made_scaled,) = compare(scaled, exact, settled=settled)
    assert str(made_scaled) == "decode: scaled in the store, exact asked for"
    (made_exact,) = compare(exact, scaled, settled=settled)
    assert str(made_exact) == "decode: exact in the store, scaled asked for"


def test_the_fingerprint_is_stable_across_versions():
    assert RESOLVED.fingerprint == "3a13724130659cc277d0c63bc1b1b0f1c6e0d975ae900db4674fe0a383f4d1f1"


def test_a_spec_that_is_not_resolved_has_no_fingerprint():
    with pytest.raises(SpecError, match="load its conv base first"):
        _ = ConvBaseSpec().fingerprint


def test_values_that_are_not_known_yet_are_not_compared():
    stored = RESOLVED.identity()
    asked = ConvBaseSpec(size=224, conv_base_args={"alpha": 0.35}, cut="somewhere").identity()
    assert compare(stored, asked, settled=False) == []
    assert {difference.field for difference in compare(stored, asked)} >= {"cut", "weights_sha256", "precision"}


def test_a_difference_shows_both_values():
    (difference,) = compare(RESOLVED.identity(), replace(RESOLVED, size=(150, 200)).identity())
    assert str(difference) == "size: [224, 224] in the store, [150, 200] asked for"


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0}, {"size": (1, 2, 3)}, {"size": "150"}, {"size": True}, {"precision": "int4"}, {"resize": "cubic"}],
)
def test_values_out_of_range_are_errors(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        ConvBaseSpec(**wrong)


def test_each_field_that_a_user_sets_has_a_help_text_beside_it():
    computed = {"view", "decoder", "conv_base_sha256", "weights_sha256", "int8_sha256"}
    assert {field.name for field in fields(ConvBaseSpec) if not field.metadata.get("help")} == computed
    assert all(field.metadata["help"] for field in fields(Augmentation))
