"""The classic networks as published: parameters, sizes of the maps, and the layers that Keras lacks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.conv_base.classic import AlexNet, GoogLeNet, LeNet5, ZFNet, alexnet, lenet5, zfnet
from pipeline.conv_base.classic.lenet5 import C3_INPUTS
from pipeline.conv_base.classic.parts import conv, local_response_normalization
from pipeline.conv_base.keras_setup import Model


def graph(function, **arguments) -> Model:
    """A model whose weights have no values, which takes no time."""
    with keras.StatelessScope(initialize_variables=False):
        return function(**arguments)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 60, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("function", "arguments", "with_top", "without_top"),
    [
        (LeNet5, {}, 60_000, 49_836),
        (LeNet5, {"input_shape": (32, 32, 3)}, 60_300, 50_136),
        (LeNet5, {"modern": True}, 61_706, 50_692),
        (LeNet5, {"modern": True, "input_shape": (32, 32, 3)}, 62_006, 50_992),
        (AlexNet, {}, 60_965_224, 2_334_080),
        (AlexNet, {"groups": 1}, 62_378_344, 3_747_200),
        (ZFNet, {}, 62_357_608, 3_726_464),
        (GoogLeNet, {}, 6_998_552, 5_973_552),
    ],
)
def test_parameters_are_those_of_the_papers(function, arguments, with_top, without_top):
    for include_top, expected in ((True, with_top), (False, without_top)):
        model = graph(function, include_top=include_top, **arguments)
        assert model.count_params() == expected
        assert not model.non_trainable_weights


@pytest.mark.parametrize(
    ("function", "sides"),
    [
        (LeNet5, {"block1_tanh": 28, "block1_pool_tanh": 14, "block2_tanh": 10, "block2_pool_tanh": 5}),
        (AlexNet, {"block1_conv": 55, "block1_pool": 27, "block2_conv": 27, "block2_pool": 13, "block5_pool": 6}),
        (ZFNet, {"block1_conv": 110, "block1_pool": 55, "block2_conv": 26, "block2_pool": 13, "block5_pool": 6}),
        (GoogLeNet, {"block1_conv": 112, "block2_conv": 56, "inception_3a": 28, "inception_4e": 14, "inception_5b": 7}),
    ],
)
def test_maps_have_the_published_sizes(function, sides):
    model = graph(function)
    assert {name: model.get_layer(name).output.shape[1] for name in sides} == sides


@pytest.mark.parametrize(
    ("function", "order", "dropout"),
    [
        (AlexNet, ["block1_norm", "block1_pool", "block2_norm", "block2_pool", "block5_pool"], [0.5, 0.5]),
        (ZFNet, ["block1_pool", "block1_norm", "block2_pool", "block2_norm", "block5_pool"], [0.5, 0.5]),
        (GoogLeNet, ["block1_pool", "block1_norm", "block2_norm", "block2_pool"], [0.4]),
    ],
)
def test_normalisation_pooling_activation_and_dropout_are_as_published(function, order, dropout):
    layers = graph(function).layers
    assert [
        layer.name for layer in layers if layer.name.startswith("block") and layer.name[7:] in ("norm", "pool")
    ] == order
    assert {layer.pool_size for layer in layers if isinstance(layer, keras.layers.MaxPooling2D)} == {(3, 3)}
    activations = [layer.activation for layer in layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(activations) >= 5 and set(activations) == {keras.activations.relu}
    assert [layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)] == dropout


@pytest.mark.parametrize(("module", "function"), [(lenet5, LeNet5), (alexnet, AlexNet), (zfnet, ZFNet)])
def test_the_smallest_size_gives_one_position_and_a_smaller_one_none(module, function, monkeypatch):
    side = module.MIN_SIDE
    assert graph(function, include_top=False, input_shape=(side, side, 3)).output_shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match=f"at least {side}x{side}, not {side}x{side - 1}"):
        graph(function, include_top=False, input_shape=(side, side - 1, 3))
    monkeypatch.setattr(module, "MIN_SIDE", 1)
    with pytest.raises(ValueError, match=r"negative|empty"):
        graph(function, include_top=False, input_shape=(side - 1, side - 1, 3))


@pytest.mark.parametrize(("channels", "radius"), [(96, 2), (7, 3), (3, 2), (8, 0)])
def test_local_response_normalization_is_that_of_tensorflow(channels, radius):
    inputs, images = keras.Input((5, 4, channels)), random(2, 5, 4, channels)
    model = keras.Model(inputs, local_response_normalization(inputs, "norm", radius=radius))
    expected = tf.nn.local_response_normalization(images, radius, 2.0, 1e-4, 0.75).numpy()
    assert np.abs(expected - images / 2**0.75).max() > 1
    np.testing.assert_allclose(model(images).numpy(), expected, rtol=1e-5)


def test_groups_are_those_of_a_grouped_convolution():
    inputs, images = keras.Input((6, 5, 8)), random(2, 6, 5, 8)
    ours = keras.Model(inputs, conv(inputs, 6, 3, "c", groups=2, padding="same", bias_initializer="normal"))
    (kernel1, bias1, kernel2, bias2), layer = ours.get_weights(), keras.layers.Conv2D(6, 3, padding="same", groups=2)
    reference = keras.Sequential([inputs, layer, keras.layers.ReLU()])
    layer.set_weights([np.concatenate([kernel1, kernel2], axis=-1), np.concatenate([bias1, bias2])])
    np.testing.assert_allclose(ours(images), reference(images), rtol=1e-4, atol=1e-4)


def test_another_number_of_groups_is_an_error():
    with pytest.raises(ValueError, match="groups are 1 or 2, not 3"):
        graph(AlexNet, groups=3)


class TestLeNet5:
    def test_the_connections_of_c3_are_those_of_table_1(self):
        assert [len(maps) for maps in C3_INPUTS] == [3] * 6 + [4] * 9 + [6]
        assert [sum(i in maps for maps in C3_INPUTS) for i in range(6)] == [10] * 6
        assert len(set(C3_INPUTS)) == 16 and all(tuple(sorted(maps)) == maps for maps in C3_INPUTS)

    def test_a_map_of_c3_sees_only_its_own_maps_of_s2(self):
        model = LeNet5()
        upper = keras.Model(model.get_layer("block1_pool_tanh").output, model.get_layer("block2_conv").output)
        maps = random(1, 14, 14, 6)
        for i in range(6):
            other = maps.copy()
            other[..., i] += 1
            changed = np.abs(upper(other) - upper(maps)).max(axis=(0, 1, 2)) > 0
            assert changed.tolist() == [i in taken for taken in C3_INPUTS]

    def test_the_activation_maps_1_to_itself_and_saturates_at_1_7159(self):
        inputs = keras.Input((4,))
        squash = keras.Model(inputs, lenet5._squash(inputs, "tanh"))
        np.testing.assert_allclose(squash(np.array([[-1.0, 0, 1, 99]])), [[-1, 0, 1, 1.7159]], atol=1e-4)

    def test_a_subsampling_is_the_mean_times_a_coefficient_plus_a_bias(self):
        inputs, images = keras.Input((4, 6, 2)), random(3, 4, 6, 2) / 60
        model = keras.Model(inputs, lenet5._subsample(inputs, "pool"))
        model.set_weights([np.array([0.5, 2.0]).reshape(1, 1, 2, 1), np.array([0.1, -0.2])])
        means = images.reshape(3, 2, 2, 3, 2, 2).mean(axis=(2, 4)) * [0.5, 2] + [0.1, -0.2]
        np.testing.assert_allclose(model(images), 1.7159 * np.tanh(2 / 3 * means), atol=1e-5)

    def test_the_output_is_a_softmax_of_the_distances_from_fixed_codes(self):
        model, images = LeNet5(classes=4, classifier_activation=None), random(3, 32, 32, 1)
        f6 = keras.Model(model.input, model.get_layer("fc1_tanh").output)(images).numpy()
        codes = lenet5._codes(4)
        assert codes.shape == (4, 84) and set(np.unique(codes)) == {-1, 1} and len(np.unique(codes, axis=0)) == 4
        expected = -((f6[:, None] - codes) ** 2).sum(axis=-1)
        np.testing.assert_allclose(model(images), expected, rtol=1e-4)

    def test_ink_is_1_175_and_paper_minus_0_1(self):
        np.testing.assert_allclose(lenet5.preprocess_input(np.array([0.0, 255.0])), [1.175, -0.1])


def test_the_others_subtract_the_mean_colour():
    image = np.array([[[[123.68, 116.779, 103.939]]], [[[255, 0, 0]]]], np.float32)
    expected = [[[[0, 0, 0]]], [[[-103.939, -116.779, 255 - 123.68]]]]
    np.testing.assert_allclose(alexnet.preprocess_input(image), expected, atol=1e-4)


@pytest.mark.parametrize(("function", "side"), [(LeNet5, 32), (AlexNet, 67), (ZFNet, 53), (GoogLeNet, 32)])
def test_every_weight_is_trained(function, side):
    keras.utils.set_random_seed(0)
    model = function(include_top=False, input_shape=(side, side, 3))
    images = alexnet.preprocess_input(np.random.default_rng(0).uniform(0, 255, (4, side, side, 3)).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=True) ** 2)
    for variable, gradient in zip(model.weights, tape.gradient(loss, model.weights), strict=True):
        assert gradient is not None and np.isfinite(gradient).all() and np.any(gradient), variable.path


def test_the_weights_of_a_file_are_loaded(tmp_path):
    written = LeNet5(classes=3)
    written.save_weights(tmp_path / "lenet5.weights.h5")
    read = LeNet5(classes=3, weights=str(tmp_path / "lenet5.weights.h5"))
    np.testing.assert_array_equal(read(random(2, 32, 32, 1)), written(random(2, 32, 32, 1)))
