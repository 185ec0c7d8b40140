"""The train images that are held out to choose the epoch."""

import numpy as np

from pipeline.training.hold_out import hold_out

Y = np.arange(600) % 3


def test_a_tenth_of_each_class_is_held_out_and_the_same_at_each_call():
    held_out = hold_out(Y, np.arange(600))
    assert np.bincount(Y[held_out]).tolist() == [20, 20, 20]
    np.testing.assert_array_equal(held_out, hold_out(Y, np.arange(600)))


def test_groups_and_views_are_not_separated():
    groups, images = np.arange(600) // 6, np.arange(600)
    held_out = hold_out(np.tile(Y, 2), np.tile(groups, 2), np.tile(images, 2))
    assert set(np.tile(groups, 2)[held_out]).isdisjoint(np.tile(groups, 2)[~held_out])
    np.testing.assert_array_equal(held_out[:600], held_out[600:])
    assert held_out.mean() == 0.1


def test_nothing_is_held_out_of_few_images():
    assert hold_out(Y[:150], np.arange(150)) is None
    assert hold_out(np.tile(Y[:150], 2), np.tile(np.arange(150), 2), np.tile(np.arange(150), 2)) is None


def test_nothing_is_held_out_if_a_class_would_have_no_other_rows():
    drawn = np.flatnonzero(hold_out(Y, np.arange(600)))[0]
    assert hold_out(np.append(Y, 3), np.append(np.arange(600), drawn)) is None
