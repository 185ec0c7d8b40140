"""Augmented copies are a pure function of content, number, settings and seed."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest

from pipeline.errors import SpecError
from pipeline.images.augment import DRAWN, Augmentation, View, affine_map, augment, draw_numbers

CONTENT = hashlib.sha256(b"an image").digest()
NONE = Augmentation(rotation=0, width_shift=0, height_shift=0, shear=0, zoom=0, horizontal_flip=False)
RAMP = np.stack([np.arange(0, 240, 10, dtype=np.float32).reshape(4, 6) + c for c in range(3)], axis=2)


def image(seed: int, size: tuple[int, int] = (13, 17)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (*size, 3)).astype(np.float32)


def numbers(**given: float) -> dict[str, float]:
    return {**dict.fromkeys(DRAWN, 0.0), **given}


def test_golden_values():
    found = augment(RAMP, CONTENT, View(3, Augmentation(brightness=0.3, seed=7)))
    assert found.dtype == np.float32 and found.shape == RAMP.shape
    golden = [
        [4.7861, 11.1170, 17.4480, 23.7789, 30.1099, 36.4408],
        [31.3648, 31.3274, 31.2901, 31.2528, 31.2155, 36.4066],
        [75.1742, 75.1369, 75.0996, 75.0623, 75.0249, 74.9876],
        [118.9837, 118.9464, 118.9091, 118.8717, 118.8344, 118.7971],
    ]
    assert found[:, :, 0] == pytest.approx(np.array(golden), abs=1e-3)


def test_the_drawn_numbers_never_change():
    drawn = draw_numbers(CONTENT, View(1))
    expected = [
        0.340354270,
        -0.336377120,
        -0.889285337,
        0.684984977,
        -0.833230107,
        0.147014734,
        -0.653037550,
        0.809328537,
    ]
    assert list(drawn.values()) == pytest.approx(expected, abs=1e-9)


def test_the_drawn_numbers_are_uniform_and_uncorrelated():
    drawn = np.array([list(draw_numbers(bytes([n % 256, n // 256]) * 16, View(1)).values()) for n in range(2000)])
    assert drawn.min() >= -1 and drawn.max() < 1
    assert np.abs(drawn.mean(axis=0)).max() < 0.06 and np.abs(drawn.std(axis=0) - 3**-0.5).max() < 0.03
    assert np.abs(np.corrcoef(drawn.T) - np.eye(len(DRAWN))).max() < 0.1


def test_the_affine_map_equals_that_of_keras():
    image_utils = pytest.importorskip("keras.src.legacy.preprocessing.image")
    ranges, pixels = Augmentation(horizontal_flip=False), image(1, (20, 20))
    view = View(1, ranges)
    drawn = draw_numbers(CONTENT, view)
    expected = image_utils.apply_affine_transform(
        pixels,
        theta=drawn["rotation"] * ranges.rotation,
        tx=drawn["width_shift"] * ranges.width_shift * 20,
        ty=drawn["height_shift"] * ranges.height_shift * 20,
        shear=drawn["shear"] * ranges.shear,
        zx=1 + drawn["zoom_width"] * ranges.zoom,
        zy=1 + drawn["zoom_height"] * ranges.zoom,
        row_axis=0,
        col_axis=1,
        channel_axis=2,
    )
    assert augment(pixels, CONTENT, view) == pytest.approx(expected, abs=1e-3)


def test_without_any_range_a_copy_is_the_image():
    assert np.array_equal(augment(image(2), CONTENT, View(1, NONE)), image(2))


def test_a_shift_is_a_fraction_of_height_and_width():
    matrix, offset = affine_map((40, 100), replace(NONE, height_shift=0.5, width_shift=0.1), numbers(height_shift=1.0))
    assert np.array_equal(matrix, np.eye(2)) and offset == pytest.approx([20, 0])
    _, offset = affine_map((40, 100), replace(NONE, width_shift=0.1), numbers(width_shift=-1.0))
    assert offset == pytest.approx([0, -10])


@pytest.mark.parametrize("drawn", [{"rotation": 1.0}, {"shear": -1.0}, {"zoom_height": 1.0}, {"zoom_width": -1.0}])
def test_rotation_shear_and_zoom_do_not_move_the_centre(drawn):
    matrix, offset = affine_map((41, 101), Augmentation(), numbers(**drawn))
    assert not np.allclose(matrix, np.eye(2))
    assert matrix @ [20, 50] + offset == pytest.approx([20, 50])


def test_half_of_the_copies_are_mirrored():
    views = [View(n, replace(NONE, horizontal_flip=True)) for n in range(1, 201)]
    copies = [augment(RAMP, CONTENT, view) for view in views]
    mirrored = sum(np.array_equal(copy, RAMP[:, ::-1]) for copy in copies)
    assert 75 < mirrored < 125
    assert mirrored + sum(np.array_equal(copy, RAMP) for copy in copies) == 200


def test_brightness_stays_in_range():
    copies = [augment(RAMP, CONTENT, View(n, replace(NONE, brightness=0.9))) for n in range(1, 20)]
    assert all(copy.min() >= 0 and copy.max() <= 255 for copy in copies)
    assert len({copy.tobytes() for copy in copies}) == len(copies)


def test_threads_and_order_do_not_change_a_copy():
    jobs = [(image(seed), hashlib.sha256(bytes([seed])).digest(), View(n)) for seed in range(6) for n in (1, 2)]
    alone = [augment(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: augment(*job), jobs[::-1]))[::-1]
    assert all(np.array_equal(*copies) for copies in zip(alone, together, strict=True))


CHANGED = {
    "rotation": 39.0,
    "width_shift": 0.1,
    "height_shift": 0.1,
    "shear": 1.0,
    "zoom": 0.1,
    "horizontal_flip": False,
    "brightness": 0.1,
    "seed": 1,
}


@pytest.mark.parametrize("setting", CHANGED)
def test_every_setting_changes_the_copy(setting):
    assert {field.name for field in fields(Augmentation)} == set(CHANGED)
    view, other = View(1), View(1, replace(Augmentation(), **{setting: CHANGED[setting]}))
    assert view.identity() != other.identity()
    assert not np.array_equal(augment(image(3), CONTENT, view), augment(image(3), CONTENT, other))


def test_number_and_content_change_the_copy():
    copies = [
        augment(image(3), CONTENT, View(1)),
        augment(image(3), CONTENT, View(2)),
        augment(image(3), b"x" * 32, View(1)),
    ]
    assert len({copy.tobytes() for copy in copies}) == 3


def test_a_view_comes_back_from_its_identity():
    view = View(4, Augmentation(rotation=10, seed=3))
    assert View.from_identity(view.identity()) == view
    assert View(1, Augmentation(rotation=40)).identity() == View(1, Augmentation(rotation=40.0)).identity()
    with pytest.raises(SpecError, match="made by method 'affine-0'"):
        View.from_identity({**view.identity(), "method": "affine-0"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"rotation": -1},
        {"rotation": float("nan")},
        {"zoom": 1},
        {"zoom": True},
        {"shear": "20"},
        {"horizontal_flip": 1},
        {"seed": 0.5},
        {"blur": 1},
    ],
)
def test_settings_out_of_range_are_errors(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        Augmentation.from_settings(wrong)


@pytest.mark.parametrize("number", [0, -1, 1.0, True])
def test_the_number_of_a_view_is_1_or_more(number):
    with pytest.raises(SpecError, match="1 or more"):
        View(number)
