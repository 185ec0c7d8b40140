"""`join_tflite`: the joined model gives, bit for bit, what its parts give one after the other."""

import io
import warnings
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from pipeline.errors import ExportError
from pipeline.export.join_tflite import join_tflite, resize_model

SIZE = (24, 20)
ROW = (5, 4, 6)  # the shape of the features of one image
DTYPES = {"float32": tf.float32, "int32": tf.int32}


def convert(function, *shapes, quantised=False, dtype="float32"):
    """Convert a function of arrays of shape (b, *shape) as a `.tflite` file."""
    traced = tf.function(function, autograph=False)
    inputs = [tf.TensorSpec((None, *shape), DTYPES[dtype], name=f"input_{i}") for i, shape in enumerate(shapes)]
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function(*inputs))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    if quantised:
        rng = np.random.default_rng(1)
        samples = rng.uniform(0, 255, (16, 1, *shapes[0])).astype(np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return converter.convert()


def run(model, images, interpreter=Interpreter, threads=1):
    """Run a `.tflite` model with the default delegate on a batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf.lite.Interpreter is deprecated
        runs = interpreter(model_content=model, num_threads=threads)
    (taken,), (given,) = runs.get_input_details(), runs.get_output_details()
    runs.resize_tensor_input(taken["index"], images.shape)
    runs.allocate_tensors()
    runs.set_tensor(taken["index"], images)
    runs.invoke()
    return runs.get_tensor(given["index"])


def random_images(count, size):
    return np.random.default_rng(7).integers(0, 256, (count, *size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def resize():
    return resize_model(*SIZE)


@pytest.fixture(scope="module")
def conv_base():
    """A conv base with preprocessing inside, quantised to integers."""
    kernels = [keras.initializers.GlorotUniform(seed) for seed in range(3)]
    layers = [
        keras.Input((*SIZE, 3)),
        keras.layers.Rescaling(1 / 127.5, -1),
        keras.layers.Conv2D(4, 3, strides=2, activation="relu", kernel_initializer=kernels[0]),
        keras.layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=kernels[1]),
        keras.layers.Conv2D(ROW[-1], 3, strides=2, activation="relu", kernel_initializer=kernels[2]),
    ]
    model = keras.Sequential(layers)
    return convert(lambda images: model(images, training=False), (*SIZE, 3), quantised=True)


@pytest.fixture(scope="module")
def head():
    """A head that rounds features to float16, as a store does, before it computes in float32."""
    layers = [
        keras.Input(ROW),
        keras.layers.Identity(dtype="float16"),
        keras.layers.Flatten(dtype="float32"),
        keras.layers.Dense(3, activation="softmax", kernel_initializer=keras.initializers.GlorotUniform(3)),
    ]
    model = keras.Sequential(layers)
    return convert(lambda features: model(features, training=False), ROW)


@pytest.fixture(scope="module")
def parts(resize, conv_base, head):
    return resize, conv_base, head


@pytest.fixture(scope="module")
def joined(resize, conv_base, head):
    return join_tflite(join_tflite(resize, conv_base), head)


@pytest.mark.parametrize("interpreter", [Interpreter, tf.lite.Interpreter], ids=["litert", "tf.lite"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [SIZE, (61, 47)])
def test_the_joined_model_gives_the_bytes_of_its_parts(
    resize, conv_base, head, joined, interpreter, threads, count, size
):
    images = random_images(count, size)
    resized = run(resize, images, interpreter, threads)
    features = run(conv_base, resized, interpreter, threads)
    probabilities = run(head, features, interpreter, threads)
    assert np.ptp(features) > 0 and np.ptp(probabilities) > 0.01
    assert run(join_tflite(resize, conv_base), images, interpreter, threads).tobytes() == features.tobytes()
    assert run(joined, images, interpreter, threads).tobytes() == probabilities.tobytes()


def test_images_of_the_input_size_have_the_features_of_the_conv_base_alone(resize, conv_base):
    images = random_images(3, SIZE)
    assert run(join_tflite(resize, conv_base), images).tobytes() == run(conv_base, images).tobytes()


@pytest.mark.parametrize("size", [SIZE, (61, 47), (9, 100)])
def test_the_resize_part_resizes_as_keras_does(resize, size):
    images = random_images(2, size)
    expected = np.asarray(keras.layers.Resizing(*SIZE, "bilinear")(images))
    np.testing.assert_allclose(run(resize, images), expected, rtol=0, atol=2e-3)
    if size == SIZE:
        assert (run(resize, images) == images).all()


def test_a_head_with_an_identity_layer_of_float16_rounds_features_as_the_store_does(head):
    features = np.random.default_rng(0).normal(0, 30, (2, *ROW)).astype(np.float32)
    rounded = features.astype(np.float16).astype(np.float32)
    assert run(head, features).tobytes() == run(head, rounded).tobytes()
    dense = convert(lambda features: tf.reduce_sum(features, axis=[1, 2]), ROW)
    assert (run(dense, features) != run(dense, rounded)).any()  # the rounding of these features matters


def test_the_signature_has_the_first_ones_input_and_the_second_ones_output(resize, conv_base, head, joined):
    for model in (joined, join_tflite(resize, join_tflite(conv_base, head))):  # names from tensors and from signatures
        runs = Interpreter(model_content=model)
        assert runs.get_signature_list() == {"serving_default": {"inputs": ["images"], "outputs": ["Identity"]}}
        assert list(runs.get_input_details()[0]["shape_signature"]) == [-1, -1, -1, 3]
        assert list(runs.get_output_details()[0]["shape_signature"]) == [-1, 3]
        images = random_images(1, SIZE)
        found = runs.get_signature_runner("serving_default")(images=images)["Identity"]
        assert found.tobytes() == run(model, images).tobytes()


def test_every_part_of_the_file_is_as_the_format_demands(conv_base, head, joined):
    model, parts = read_model_from_bytearray(joined), [read_model_from_bytearray(part) for part in (conv_base, head)]
    names = [tensor.name for tensor in model.subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert model.buffers[0].data is None
    starts = [buffer.data.__array_interface__["data"][0] for buffer in model.buffers[1:]]
    begin = np.frombuffer(joined, np.uint8).__array_interface__["data"][0]
    assert {(start - begin) % 16 for start in starts} == {0}
    versions = [runtime(one) for one in (model, *parts)]
    assert versions[0] == versions[2] > versions[1]  # that of the head, whose CAST needs the newest runtime


def runtime(model):
    """Return the oldest runtime for a model, for instance [2, 12, 0]."""
    (entry,) = [entry for entry in model.metadata if entry.name == b"min_runtime_version"]
    text = model.buffers[entry.buffer].data.tobytes().rstrip(b"\0").decode()
    return [int(number) for number in text.split(".")]


def test_a_zip_archive_at_the_end_is_read_and_the_model_still_runs(resize, conv_base, joined):
    images = random_images(1, SIZE)
    data = io.BytesIO(joined)
    with zipfile.ZipFile(data, "a") as extras:
        extras.writestr("record.json", "{}")
    assert zipfile.ZipFile(data).read("record.json") == b"{}"
    assert run(data.getvalue(), images).tobytes() == run(joined, images).tobytes()
    second = io.BytesIO(conv_base)
    with zipfile.ZipFile(second, "a") as extras:
        extras.writestr("record.json", "{}")
    assert join_tflite(resize, second.getvalue()) == join_tflite(resize, conv_base)


def test_models_that_do_not_fit_are_errors_that_give_both_shapes(resize, conv_base, head):
    with pytest.raises(ExportError, match=r"gives FLOAT32 \(-1, 24, 20, 3\), the second takes FLOAT32 \(-1, 5, 4, 6\)"):
        join_tflite(resize, head)
    whole_numbers = convert(lambda features: features + 1, ROW, dtype="int32")
    with pytest.raises(ExportError, match=r"FLOAT32 \(-1, 5, 4, 6\), the second takes INT32 \(-1, 5, 4, 6\)"):
        join_tflite(conv_base, whole_numbers)
    with pytest.raises(ExportError, match=r"gives FLOAT32 \(-1, 3\), the second"):
        join_tflite(head, conv_base)


def test_what_is_not_a_model_of_one_input_and_one_output_is_an_error(resize, conv_base):
    with pytest.raises(ExportError, match="the second of two models to join is not a TensorFlow Lite model"):
        join_tflite(resize, b"PK\x03\x04 no model")
    two = convert(lambda a, b: a + b, ROW, ROW)
    with pytest.raises(ExportError, match="the first of two models to join has 1 subgraphs, 2 inputs and 1 outputs"):
        join_tflite(two, conv_base)
